"""A private Postfix and a private spamd, for the demonstration, the tests and the benchmarks.

Everything lives in one directory below /tmp and on loopback ports, inside a mount namespace of the process
that uses it: the host's configuration, queue, accounts, mail log and running servers are left as they are.
It never sends anything to another machine: the private Postfix has no SMTP client.
Start with mailhost.MailHost; what goes wrong is raised as tools.LabError.
"""
