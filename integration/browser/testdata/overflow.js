// What is wider than the window, or than the box that it is in.
(() => {
  const told = e => `<${e.tagName.toLowerCase()} ${e.className}> ${e.textContent.trim().slice(0, 40)}`;
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page has ${document.documentElement.scrollWidth} pixels`);
  for (const e of document.body.querySelectorAll("*")) {
    if (!e.checkVisibility() || e.closest(".skip, svg, pre") || getComputedStyle(e).clipPath !== "none" || e.closest("thead")) continue;
    const box = e.getBoundingClientRect();
    if (box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5)) found.push(`${told(e)} reaches from ${box.left} to ${box.right}`);
  }
  return found;
})()
