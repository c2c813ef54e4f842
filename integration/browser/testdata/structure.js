// What a reader of screens would miss.
(() => {
  const found = [], all = selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility());
  const told = e => e.outerHTML.slice(0, 80);
  const n = all("h1").length;
  if (n !== 1) found.push(`there are ${n} h1`);
  if (document.documentElement.lang !== "en") found.push("no language is said");
  if (document.title.trim() === "") found.push("there is no title");
  if (document.getElementById("status")?.getAttribute("role") !== "status") found.push("the status has no such role");
  if (document.querySelectorAll("main").length !== 1) found.push("there is not one main");
  for (const e of document.querySelectorAll("th:not([scope])")) found.push(`no scope: ${told(e)}`);
  for (const e of document.querySelectorAll("*")) {
    for (const {name} of e.attributes) {
      if (name.startsWith("on") || name === "style") found.push(`the attribute ${name}: ${told(e)}`);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  for (const id of new Set(ids)) if (ids.filter(other => other === id).length > 1) found.push(`the id ${id} is there more than once`);
  for (const e of document.querySelectorAll("[aria-labelledby]")) {
    if (!document.getElementById(e.getAttribute("aria-labelledby"))) found.push(`named by nothing: ${told(e)}`);
  }
  let level = 0;
  for (const e of all("h1, h2, h3, h4")) {
    const next = Number(e.tagName[1]);
    if (next > level + 1) found.push(`a heading of level ${next} after one of ${level}: ${told(e)}`);
    level = next;
  }
  for (const e of all("script:not([src]), style")) found.push(`inline: ${told(e)}`);
  return found;
})()
