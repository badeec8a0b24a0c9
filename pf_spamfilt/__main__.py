"""The file that the launcher runs: it is compiled anew at every start, so it stays this short."""

import sys

sys.path.insert(0, __file__.rpartition("/pf_spamfilt/")[0])

from pf_spamfilt import door

door.main()
