/** Connects the traits of edgeprof.widgets.HealthTable to renderHealth, which stands above this text in the same module, as does hideStill. */
export default {
  render({ model, el }) {
    try {
      const traits = ["rows", "columns", "readings", "error", "asking", "running", "refresh_s", "theme"];
      const get = () => Object.fromEntries(traits.map((name) => [name, model.get(name)]));
      const view = renderHealth(el, get(), {
        onChange: (values) => {
          for (const [name, value] of Object.entries(values)) model.set(name, value);
          model.save_changes();
        },
      });
      const changed = () => view.set(get());
      model.on("change", changed);
      const showStill = hideStill(el, () => model.get("still"), (area, name) => area.getElementsByClassName(name));
      return () => {
        model.off("change", changed);
        showStill();
        view.destroy();
      };
    } catch (error) {
      showError(el, error);
      return undefined;
    }
  },
};
