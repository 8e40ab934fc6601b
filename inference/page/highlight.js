/* Colours of code, and JSON with line breaks. Each character is looked at once: every pattern takes
 * what it has read, and what is no pattern stays between them, so the text is always the same. */
"use strict";

const C_COMMENT = String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`;
const TRIPLE = String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)`;
const NUMBER_OR_WORD = String.raw`(?<number>\b\d[\w.]*)|[#@$]?[\p{L}_][\p{L}\w$]*`;

/** How a string is found; one that does not end does so with its line, or where all ends. */
const quoted = (quote, line = String.raw`\n`) =>
  String.raw`${quote}(?:\\[^]|[^\\${quote}${line}])*${quote}?`;
const QUOTED = `${quoted('"')}|${quoted("'")}`;

/** A language: how its comments and strings are found, and its keywords. */
function grammar(comment, string, words) {
  const pattern = `(?<comment>${comment})|(?<string>${string})|${NUMBER_OR_WORD}`;
  return { pattern: new RegExp(pattern, "gu"), words: new Set(words.split(" ")) };
}

const GRAMMARS = {
  python: grammar(String.raw`#[^\n]*`, `${TRIPLE}|${QUOTED}`,
    "and as assert async await break class continue def del elif else except finally for from " +
    "global if import in is lambda match case nonlocal not or pass raise return try while with " +
    "yield None True False self"),
  js: grammar(C_COMMENT, `${QUOTED}|${quoted("`", "")}`,
    "async await break case catch class const continue default delete do else export extends " +
    "false finally for from function if import in instanceof interface let new null of return " +
    "static super switch this throw true try type typeof undefined var void while yield"),
  c: grammar(C_COMMENT, QUOTED,
    "#include #define #if #ifdef #ifndef #else #endif #pragma auto bool break case char class " +
    "const continue default delete do double else enum extern false float fn for func go if impl " +
    "import int interface let long match mut namespace new nullptr package private public return " +
    "short signed sizeof static struct switch template this true type typedef union unsigned " +
    "use using virtual void volatile while"),
  bash: grammar(String.raw`(?<![^\s;(])#[^\n]*`, `${quoted('"', "")}|'[^']*'?`,
    "if then else elif fi for while until do done case esac in function return export local echo " +
    "cd exit set source sudo"),
  json: grammar("(?!)", quoted('"'), "true false null"),
};
const LANGUAGES = {
  py: "python", python3: "python", javascript: "js", ts: "js", typescript: "js", jsx: "js",
  tsx: "js", mjs: "js", h: "c", cpp: "c", "c++": "c", cc: "c", cs: "c", java: "c", rust: "c",
  rs: "c", go: "c", cuda: "c", sh: "bash", shell: "bash", zsh: "bash", jsonl: "json",
};

/** An element with a code, its pieces coloured. */
function coloured(code, name = "") {
  const known = name.toLowerCase();
  const language = new Map(Object.entries(GRAMMARS)).get(LANGUAGES[known] ?? known);
  const element = h("code");
  let at = 0;
  for (const { 0: text, index, groups } of language ? code.matchAll(language.pattern) : []) {
    const found = ["comment", "string", "number"].find((kind) => groups[kind]);
    const kind = found ?? (language.words.has(text) && "keyword");
    if (!kind) continue;
    element.append(code.slice(at, index), h(`span.${kind}`, text));
    at = index + text.length;
  }
  element.append(code.slice(at));
  return element;
}

/** JSON on lines of its own, also where its end is missing; no value is read, so none changes. What
 * is no JSON stays as it is. */
function prettyJson(text) {
  if (!/^\s*[{[]/.test(text)) return text;
  let depth = 0;
  let last = "";
  const pieces = [];
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  for (const [token] of text.matchAll(/"(?:\\[^]|[^"\\])*"?|[{}[\],:]|[^\s"{}[\],:]+/g)) {
    const closes = "}]".includes(token);
    if (closes) depth = Math.max(0, depth - 1);
    const isEmpty = closes && ["{", "["].includes(last);
    if (last && !isEmpty && (closes || "{[,".includes(last))) pieces.push(line());
    else if (last === ":") pieces.push(" ");
    pieces.push(token);
    if ("{[".includes(token)) depth += 1;
    last = token;
  }
  return pieces.join("");
}

function paintJson(element, text) {
  element.sources = null;
  element.replaceChildren(codeBox("json", prettyJson(text)));
}
