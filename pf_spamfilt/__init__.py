"""pf-spamfilt: the content filter between Postfix's pipe(8) and SpamAssassin's spamc(1)."""

__version__ = "0.1.0"
