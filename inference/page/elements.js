/* Elements: no text ever becomes markup. */
"use strict";

const $ = (id) => document.getElementById(id);

/** Gives an element properties (functions listen) and children; null and false are left out. */
function dress(element, parts) {
  const isGiven = (value) => value !== undefined && value !== null && value !== false;
  const properties = parts[0]?.constructor === Object ? parts.shift() : {};
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (isGiven(value)) element.setAttribute(name, value);
  }
  element.append(...parts.filter(isGiven));
  return element;
}

/** An HTML element: h("tag.class", {properties}, ...children). */
function h(selector, ...parts) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  if (tag === "button") element.type = "button";
  return dress(element, parts);
}

const SVG = "http://www.w3.org/2000/svg";
const s = (tag, ...parts) => dress(document.createElementNS(SVG, tag), parts);

function icon(name) {
  const drawing = s("use", { href: `#${name}-icon` });
  return s("svg", { class: `glyph ${name}-icon`, "aria-hidden": true }, drawing);
}

/** Names an element for screen readers, and a button for the mouse too. */
function nameElement(element, label) {
  element.setAttribute("aria-label", label);
  if (element.matches("button")) element.title = label;
}

function dressButton(element, name, label) {
  element.replaceChildren(icon(name));
  nameElement(element, label);
  return element;
}

const iconButton = (kind, name, label, click) =>
  dressButton(h(`button.${kind}`, { click }), name, label);
