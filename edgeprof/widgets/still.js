/**
 * Hides the picture that stands for a view in saved notebooks, while the live view is there. `tail` is the end of its base64 text;
 * or, with `find`, what tells the elements that `find(area, tail)` returns.
 * The picture comes as its own output, before or after the view; the view is made before it is put into the page.
 * @returns {() => void} shows the picture again
 */
function hideStill(el, tail, find = (area, end) => [...area.querySelectorAll("img")].filter((image) => image.src.endsWith(end))) {
  const hidden = [];
  let area = null;
  const changes = new MutationObserver(() => scan());
  const attached = new ResizeObserver(() => {
    area = el.closest(".jp-OutputArea, .cell_container");
    if (!area) return;
    attached.disconnect();
    changes.observe(area, { childList: true, subtree: true });
    scan();
  });
  function scan() {
    const end = tail();
    for (const image of end ? find(area, end) : []) {
      const output = image.closest(".jp-OutputArea-child, .output") ?? image;
      output.style.display = "none";
      hidden.push(output);
    }
  }
  attached.observe(el);
  return () => {
    attached.disconnect();
    changes.disconnect();
    for (const output of hidden) output.style.display = "";
  };
}
