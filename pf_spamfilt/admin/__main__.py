"""python3 -m pf_spamfilt.admin: the same as pf-spamfilt-admin."""

from pf_spamfilt.admin.main import main

main()
