/**
 * What a widget's module exports: `render` of a view (figures/static), connected to the widget's traits in both ways. `traits` are options of
 * the view beside its data and selection; a change of a trait goes to the view, what a person changes comes back where there is such a trait.
 *
 * @param more  {options: of the view that no trait has,
 *               beside: traits that go along when the data is exchanged,
 *               parts: traits that together are the data; else that is the trait `data`}
 */
function connect(render, traits, { options = {}, beside = [], parts = null } = {}) {
  return {
    render({ model, el }) {
      try {
        const get = (...names) => Object.fromEntries(names.map((name) => [name, model.get(name)]));
        const save = (values) => {
          for (const [name, value] of Object.entries(values)) if (model.get(name) !== undefined) model.set(name, value);
          model.save_changes();
        };
        const selectedRuns = model.get("selected_runs"); // undefined where a view has no runs to select
        const view = render(el, parts ? get(...parts) : model.get("data"), {
          ...get(...traits, "selection"), ...options, selectedRuns, onChange: save,
          onSelect: (names) => save({ selection: names }),
          onSelectRuns: (numbers) => save({ selected_runs: numbers }),
        });
        const onTrait = Object.fromEntries(traits.map((name) => [name, () => view.set(get(name))]));
        for (const name of parts ?? []) onTrait[name] = () => view.set({ data: get(name), ...get("selection") });
        if (!parts) onTrait.data = () => view.set(get("data", ...beside, "selection"));
        onTrait.selection = () => view.select(model.get("selection"));
        if (selectedRuns) onTrait.selected_runs = () => view.selectRuns(model.get("selected_runs"));
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
}
