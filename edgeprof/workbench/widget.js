/** Connects edgeprof.workbench.widget.Workbench to renderWorkbench, which stands above this text in the same module, as does hideStill. */

/** A view's module is asked for when it is first shown, once for a page: the promise of it by its hash. */
const modules = (globalThis.edgeprofModules ??= new Map());

/** What Python deflated (widget.py). */
const unpacked = (bytes) => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));

function makeHost(model) {
  const waiting = new Map();
  const own = Math.random().toString(36).slice(2);
  let count = 0;
  const heard = (message, buffers) => {
    const settle = waiting.get(message.id);
    if (!settle) return; // another view of the same Workbench asked
    waiting.delete(message.id);
    if (message.error) settle[1](new Error(message.error));
    else settle[0]([message.answer, buffers]);
  };
  model.on("msg:custom", heard);
  const ask = (message) =>
    new Promise((...settle) => {
      if (host.gone) throw new Error("The kernel of this Workbench has ended. Run its cell again.");
      const id = `${own}-${(count += 1)}`;
      waiting.set(id, settle);
      model.send({ id, ...message });
    });
  const load = async (name) => {
    const [, [packed]] = await ask({ ask: "module", name });
    const { source, css } = await unpacked(packed).json();
    const style = Object.assign(document.createElement("style"), { textContent: css });
    document.head.append(style);
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    try {
      return await import(/* webpackIgnore: true */ url);
    } finally {
      URL.revokeObjectURL(url);
    }
  };
  const host = {
    live: true,
    gone: false,
    get: (name) => model.get(name),
    set(values) {
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      model.save_changes();
    },
    on(name, fn) {
      const react = () => fn(model.get(name));
      model.on(`change:${name}`, react);
      return () => model.off(`change:${name}`, react);
    },
    act: async (name, values) => (await ask({ ask: "act", name, values }))[0],
    async view(name, values) {
      const [, [metas, ...numbers]] = await ask({ ask: "view", name, values });
      const [parts, ...blocks] = await Promise.all([unpacked(metas).json(), ...numbers.map((block) => unpacked(block).arrayBuffer())]);
      return Object.fromEntries(parts.map(({ part, meta }, i) => [part, { meta, numbers: blocks[i] }]));
    },
    module(name) {
      const key = `${name} ${model.get("hashes")[name]}`;
      if (!modules.has(key)) {
        const loading = load(name);
        loading.catch(() => modules.delete(key));
        modules.set(key, loading);
      }
      return modules.get(key);
    },
    destroy: () => model.off("msg:custom", heard),
  };
  return host;
}

/** Without its kernel nothing is answered any more, and what seemed to run stands still; a message says that it is there again. */
function watchKernel(model, host, workbench) {
  const say = (gone) => () => {
    if (gone === host.gone) return;
    host.gone = gone;
    workbench.kernelChanged();
  };
  const [lost, there] = [say(true), say(false)];
  model.on("comm_live_update", lost);
  model.on("msg:custom", there);
  return () => {
    model.off("comm_live_update", lost);
    model.off("msg:custom", there);
  };
}

export default {
  render({ model, el }) {
    try {
      const host = makeHost(model);
      const workbench = renderWorkbench(el, host, { theme: model.get("theme") });
      const stopTheme = host.on("theme", (theme) => workbench.setTheme(theme));
      const stopWatching = watchKernel(model, host, workbench);
      const showStill = hideStill(el, () => model.get("still"));
      return () => {
        showStill();
        stopTheme();
        stopWatching();
        host.destroy();
        workbench.destroy();
      };
    } catch (error) {
      showError(el, error);
      return undefined;
    }
  },
};
