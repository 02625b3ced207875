"""The prompt language: what a pack's entry says, resolved into prompts before anything is sent.

PackEntry --styles, search and replace--> texts --compile--> a tree of choices --draw or enumerate--> prompts
"""
