// Once a reader clicks into a page in a frame, scroll it into view: the page shows its tour and its keys at its own bottom,
// which can be below the window.
window.addEventListener("blur", () => setTimeout(() => {
  const frame = document.activeElement;
  if (frame?.matches("iframe.live-page")) frame.scrollIntoView({ block: "nearest" });
}, 300)); // after the click itself, so that nothing moves under it
