/** Connects the traits of edgeprof.widgets.HeatmapView to renderHeatmap, which stands above this text in the same module, as does hideStill. */
export default {
  render({ model, el }) {
    try {
      const save = (values) => {
        for (const [name, value] of Object.entries(values)) model.set(name, value);
        model.save_changes();
      };
      const get = (...names) => Object.fromEntries(names.map((name) => [name, model.get(name)]));
      const traits = ["data", "runs", "mode", "sort", "group", "values", "statistic", "height", "theme"];
      const { data, ...options } = get(...traits, "selection");
      const runs = model.get("selected_runs"); // undefined for boards: they have none
      const view = renderHeatmap(el, data, {
        ...options,
        canAsk: true,
        selectedRuns: runs,
        onSelect: (names) => save({ selection: names }),
        onSelectRuns: (numbers) => save({ selected_runs: numbers }),
        onChange: save,
      });
      const onTrait = Object.fromEntries(traits.map((name) => [name, () => view.set(name === "data" ? get("data", "runs", "selection") : get(name))]));
      onTrait.selection = () => view.select(model.get("selection"));
      if (runs) onTrait.selected_runs = () => view.selectRuns(model.get("selected_runs"));
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
