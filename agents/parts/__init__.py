"""What methods are made of: pure functions of evidence, and one room that asks a model.

`credit` and `losses` serve the weights; `population`, `ratings`, `selection`, `edits` and
`operators` serve the prompt; `reflector` is the only one that talks to a policy.
"""
