"""How old is a sample's common ancestor, and how long does a system last? Both by models that were computed before."""

import phasic_models as pm

tree = pm.load_model("coalescent/n_samples_10")
print("parameters:", *tree.param_names)
print(f"mean height of the tree: {tree.expectation([1.0]):.4f}")
print(f"chance that it exceeds 4: {tree.sf([1.0], 4.0):.4f}")

system = pm.load_model("reliability/two_of_three_repair")
print("parameters:", *system.param_names)
for repair in (1.0, 10.0, 100.0):
    print(f"repair rate {repair:5.1f}: mean time to failure {system.expectation([1.0, repair]):.2f}")
