"""The benchmarks: what the filter costs, as ratios of one run, beside the budgets that it has promised to keep.

Everything runs in a private mail host of `lab`; a figure never makes it fail, a wrong or missing message does.
"""
