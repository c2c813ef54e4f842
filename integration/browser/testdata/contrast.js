// Texts with less contrast to what is behind them than 4.5 to 1, as WCAG computes it.
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return {r, g, b, a: a / 255};
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1,
  });
  const light = ({r, g, b}) => {
    const [x, y, z] = [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const canvasColor = parse(matchMedia("(prefers-color-scheme: dark)").matches ? "#000" : "#fff");
  const behind = e => e ? over(parse(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : canvasColor;
  const found = [];
  let looked = 0;
  const look = (e, text, color) => {
    looked++;
    const back = behind(e), ratio = contrast(over(parse(color), back), back);
    if (ratio < 4.5) found.push(`“${text}” has a contrast of ${ratio.toFixed(2)}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (text && e.checkVisibility({opacityProperty: true})) look(e, text.slice(0, 30), getComputedStyle(e).color);
  }
  for (const e of document.querySelectorAll("input[type=number]")) {
    if (e.checkVisibility()) look(e, "field " + e.value, getComputedStyle(e).color);
  }
  if (looked < 5) found.push(`only ${looked} texts are there`);
  return found;
})()
