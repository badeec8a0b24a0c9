"""pf-spamfilt-admin(8): what an administrator does with the filter all day. Never imported for a message.

`main.py` is the group of commands; each has a module, and what it alone needs a folder: `checks`, `reports`, `setups`,
`keeping`. `site.py`, `account.py`, `moments.py` and `output.py` are for all of them.
"""
