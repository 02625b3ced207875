"""The fault suite: runs are killed, servers die and lie, and afterwards nothing is lost and nothing was
rendered twice. `make faults` runs all of it; `test_short_form.py` a part. See docs/faults.md.
"""
