from .base import Built, Change
from .build import prune_recipe, quantize_recipe, write_model
from .plan import Plan, prunable_groups, quantizable
from .pruning.groups import Group, groups
from .recipe import Choice, Decision, Quantization, Recipe, choices, diff_recipes, parse_recipe, read_recipe, recipe_text, write_recipe
from .target import Target, target_of, this_machine

__all__ = [
    "Built", "Change", "Choice", "Decision", "Group", "Plan", "Quantization", "Recipe", "Target", "choices", "diff_recipes", "groups",
    "parse_recipe", "prunable_groups", "prune_recipe", "quantizable", "quantize_recipe", "read_recipe", "recipe_text", "target_of",
    "this_machine", "write_model", "write_recipe",
]  # fmt: skip
