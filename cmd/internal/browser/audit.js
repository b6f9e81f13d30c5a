// What is said in audit.go: an object of the shape of Audit.
(() => {
  const parse = text => {
    const n = (text.match(/[\d.]+/g) || []).map(Number);
    return n.length < 3 ? null : { r: n[0], g: n[1], b: n[2], a: n.length > 3 ? n[3] : 1 };
  };
  const over = (front, back) => ({
    r: front.r * front.a + back.r * (1 - front.a), g: front.g * front.a + back.g * (1 - front.a),
    b: front.b * front.a + back.b * (1 - front.a), a: 1,
  });
  // Relative luminance and contrast as WCAG 2 defines them.
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
  const luminance = c => 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b);
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const invert = c => ({ r: 255 - c.r, g: 255 - c.g, b: 255 - c.b, a: c.a });
  const canvas = () => parse(getComputedStyle(document.body).backgroundColor);
  const ground = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c && c.a > 0) layers.push(c);
      if (c && c.a === 1) break;
    }
    return layers.reduceRight((back, front) => over(front, back), { r: 255, g: 255, b: 255, a: 1 });
  };
  const faint = [];
  let texts = 0, worst = 21;
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join(" ").trim();
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const drawing = element.closest("svg");
    let color = parse(drawing ? style.fill : style.color);
    if (!color) continue;
    let back = ground(element);
    if (drawing && getComputedStyle(drawing).filter.includes("invert(1)")) {
      // The drawing's own ground, if it has one, is inverted with it.
      const plate = drawing.querySelector("path, rect");
      const fill = plate && Number(getComputedStyle(plate).fillOpacity) === 1 ? parse(getComputedStyle(plate).fill) : null;
      color = invert(color);
      back = fill && fill.a === 1 ? invert(fill) : canvas();
    }
    const ratio = contrast(over(color, back), back);
    texts++;
    worst = Math.min(worst, ratio);
    if (ratio < 4.5) faint.push(ratio.toFixed(2) + ": " + element.tagName + "." + (element.getAttribute("class") || "") + " " + text.slice(0, 40));
  }
  const wide = [];
  const width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg") && element.tagName !== "svg") continue;
    const box = element.getBoundingClientRect();
    if (!box.width || box.right <= width + 0.5) continue;
    let inside = false; // what scrolls by itself may be as wide as it likes
    for (let e = element.parentElement; e; e = e.parentElement)
      inside ||= ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX);
    if (!inside) wide.push(element.tagName + "." + (element.getAttribute("class") || "") + " to " + Math.round(box.right));
  }
  const body = getComputedStyle(document.body);
  return {
    scrollWidth: document.documentElement.scrollWidth, width, texts, worst, faint, wide,
    text: body.color, ground: body.backgroundColor,
  };
})()
