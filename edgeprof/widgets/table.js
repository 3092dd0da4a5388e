/** Connects the traits of edgeprof.widgets.TableView to renderLayerTable, which stands above this text in the same module, as does hideStill. */
export default {
  render({ model, el }) {
    try {
      const save = (values) => {
        for (const [name, value] of Object.entries(values)) if (model.get(name) !== undefined) model.set(name, value);
        model.save_changes();
      };
      const get = (...names) => Object.fromEntries(names.map((name) => [name, model.get(name)]));
      const traits = ["data", "sort", "height", "theme"];
      const { data, ...options } = get(...traits, "selection");
      const view = renderLayerTable(el, data, { ...options, onSelect: (names) => save({ selection: names }), onChange: save });
      const onTrait = Object.fromEntries(traits.map((name) => [name, () => view.set(name === "data" ? get("data", "selection") : get(name))]));
      onTrait.selection = () => view.select(model.get("selection"));
      for (const [name, react] of Object.entries(onTrait)) model.on(`change:${name}`, react);
      const showStill = hideStill(el, () => model.get("still"));
      return () => {
        showStill();
        for (const [name, react] of Object.entries(onTrait)) model.off(`change:${name}`, react);
        view.destroy();
      };
    } catch (error) {
      showError(el, error);
      return undefined;
    }
  },
};
