/* Markdown: blocks, then what is inside a line. */
"use strict";

const DEEPEST = 8; // of lists and quotations inside one another: a text may consist of ">"
const FENCE = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(?=\S)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const DASHES = /^ *\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/;

const interruptsParagraph = (line) =>
  [FENCE, ITEM, RULE, HEADING, QUOTE].some((opening) => opening.test(line));

/** The blocks of a text: [source, a function that builds the element]. */
function blocks(lines, depth = 0) {
  const found = [];
  for (let at = 0, length; at < lines.length; at += length) {
    let build = null;
    [length, build] = lines[at].trim() ? block(lines, at, depth) : [1, null];
    if (build) found.push([lines.slice(at, at + length).join("\n"), build]);
  }
  return found;
}

const builtBlocks = (lines, depth) => blocks(lines, depth).map(([, build]) => build());

/** The block that begins at a line: how many lines it has, and how it is built. */
function block(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return codeBlock(lines, at);
  if (RULE.test(line)) return [1, () => h("hr")];
  const [, marks, title] = HEADING.exec(line) ?? [];
  if (marks) return [1, () => inline(h(`h${Math.min(6, marks.length + 2)}`), title)];
  if (depth < DEEPEST && QUOTE.test(line)) return quotation(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (line.includes("|") && DASHES.test(lines[at + 1] ?? "")) return table(lines, at);
  return paragraph(lines, at);
}

/** Where the lines of a kind end that begin at a place. */
function endOf(lines, at, isOfKind) {
  while (at < lines.length && isOfKind(lines[at])) at += 1;
  return at;
}

function paragraph(lines, at) {
  const end = endOf(lines, at + 1, (line) => line.trim() && !interruptsParagraph(line));
  const text = lines.slice(at, end).map((line) => line.trim());
  return [end - at, () => inline(h("p"), text.join("\n"))];
}

function codeBlock(lines, at) {
  const [, fence, name] = FENCE.exec(lines[at]);
  const closes = (line) => line.startsWith(fence) && !line.replaceAll(fence[0], "");
  const end = endOf(lines, at + 1, (line) => !closes(line.trim()));
  const code = lines.slice(at + 1, end).join("\n");
  return [Math.min(end + 1, lines.length) - at, () => codeBox(name, code)];
}

/** A box with code, coloured, and what copies it. */
function codeBox(name, code) {
  const header = h("header", name || t("code"), copyButton(code));
  return h("div.code", header, h("pre", { tabindex: 0 }, coloured(code, name)));
}

function quotation(lines, at, depth) {
  const end = endOf(lines, at, (line) => QUOTE.test(line));
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [end - at, () => h("blockquote", ...builtBlocks(inner, depth + 1))];
}

function list(lines, at, depth) {
  const [, , mark] = ITEM.exec(lines[at]);
  const isNumbered = /\d/.test(mark);
  const items = [];
  let end = at;
  let indent = 0;
  for (; end < lines.length; end += 1) {
    const item = ITEM.exec(lines[end]);
    const space = lines[end].search(/\S/);
    if (item && (!items.length || space < indent)) {
      if (/\d/.test(item[2]) !== isNumbered) break;
      indent = item[0].length;
      items.push([lines[end].slice(indent)]);
    } else if (space < 0) {
      if (!(lines[end + 1]?.search(/\S/) >= indent) && !ITEM.test(lines[end + 1] ?? "")) break;
      items.at(-1).push("");
    } else if (space >= indent) items.at(-1).push(lines[end].slice(indent));
    else if (!lines[end - 1].trim() || interruptsParagraph(lines[end])) break;
    else items.at(-1).push(lines[end].trim());
  }
  const [tag, start] = isNumbered ? ["ol", parseInt(mark, 10)] : ["ul", null];
  const built = () => items.map((item) => h("li", ...itemContent(item, depth + 1)));
  return [end - at, () => h(tag, { start }, ...built())];
}

/** The content of a list item; its first paragraph stands beside the mark. */
function itemContent(lines, depth) {
  const content = builtBlocks(lines, depth);
  if (content[0]?.tagName === "P") content.splice(0, 1, ...content[0].childNodes);
  return content;
}

function table(lines, at) {
  const end = endOf(lines, at + 2, (line) => line.includes("|"));
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|");
  const row = (tag, line) => h("tr", ...cells(line).map((cell) => inline(h(tag), cell.trim())));
  const body = () => lines.slice(at + 2, end).map((line) => row("td", line));
  const build = () => h("table", h("thead", row("th", lines[at])), h("tbody", ...body()));
  return [end - at, () => h("div.wide", { tabindex: 0 }, build())];
}

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
/** What else may stand inside a line: how it is found, and what is made of it. */
const SPANS = [
  [/[^\n\\`*_~[!h]+/y, ([text]) => text],
  [/\n/y, () => h("br")],
  [/\\([\\`*_{}[\]()#+\-.!|~>])/y, ([, escaped]) => escaped],
  [/!?\[([^[\]\n]{0,400})\]\(([^\s()<>]{1,800})\)/y, ([, words, url]) => anchor(url, words || url)],
  [/(?<!\w)https?:\/\/[^\s<>"'`]{2,800}[^\s<>"'`.,;:!?)\]}，。；：！？）]/y, ([a]) => anchor(a)],
];

/** Fills an element with a line's text: code, emphasis, links; all else is text. */
function inline(element, text, depth = 0) {
  const missing = new Set(); // marks without a partner further on: looked for once, not each time
  for (let at = 0, node, length; at < text.length; at += length) {
    [node, length] = span(text, at, depth, missing);
    element.append(node);
  }
  element.normalize();
  return element;
}

/** What stands at a place in a line: [node or text, length]. */
function span(text, at, depth, missing) {
  if (text[at] === "`") return codeSpan(text, at);
  if ("*_~".includes(text[at])) return emphasis(text, at, depth, missing);
  for (const [expression, build] of SPANS) {
    expression.lastIndex = at;
    const found = expression.exec(text);
    if (found) return [build(found), found[0].length];
  }
  return [text[at], 1];
}

function codeSpan(text, at) {
  const [marks] = /^`+/.exec(text.slice(at));
  const start = at + marks.length;
  let end = text.indexOf(marks, start);
  while (end >= 0 && text[end + marks.length] === "`") {
    while (text[end] === "`") end += 1;
    end = text.indexOf(marks, end);
  }
  if (end < 0) return [marks, marks.length];
  return [h("code", text.slice(start, end).trim()), end + marks.length - at];
}

function emphasis(text, at, depth, missing) {
  for (const [mark, tag] of depth < DEEPEST ? MARKS : []) {
    const start = at + mark.length;
    if (!text.startsWith(mark, at) || missing.has(mark) || !/\S/.test(text[start] ?? "")) continue;
    if (mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) continue;
    let end = text.indexOf(mark, start + 1);
    if (mark.length === 1)
      while (end >= 0 && (text[end + 1] === mark || !/\S/.test(text[end - 1])))
        end = text.indexOf(mark, end + (text[end + 1] === mark ? 2 : 1));
    if (end < 0) missing.add(mark);
    else return [inline(h(tag), text.slice(start, end), depth + 1), end + mark.length - at];
  }
  return [text[at], 1];
}

/** A link to the web or to a mail address; pictures are links: nothing loads without a click. */
function anchor(url, words = url) {
  if (!/^(https?:\/\/|mailto:)/i.test(url)) return words;
  const rel = "noopener noreferrer nofollow";
  return h("a", { href: url, title: url, target: "_blank", rel }, words);
}

/** Shows a text as Markdown; of one that grows, only what has changed is built again. */
function paintMarkdown(element, text) {
  const wanted = blocks(text.replaceAll("\t", "    ").split(/\r?\n/));
  const old = element.sources ?? [];
  let same = 0;
  while (same < wanted.length && wanted[same][0] === old[same]) same += 1;
  while (element.childNodes.length > same) element.lastChild.remove();
  element.append(...wanted.slice(same).map(([, build]) => build()));
  element.sources = wanted.map(([source]) => source);
}
