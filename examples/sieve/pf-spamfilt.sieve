# For all users: mail is scanned by pf-spamfilt, and spam filed in a folder of its own. See dovecot-2.3.conf beside this file.

require ["vnd.dovecot.filter", "fileinto", "mailbox"];

# What the program writes is the message from here on. It runs as the user, and Dovecot tells it the user's name, by which
# spamd finds his preferences, the sender and the recipient.
if filter "pf-spamfilt" ["--stdout"] {
    # A sender cannot choose this folder: the filter takes such fields out of all mail before it is scanned.
    if header :is "X-Spam-Flag" "YES" {
        fileinto :create "Junk";
        stop;
    }
}
else {
    # It was not scanned, and is as it came: an X-Spam-Flag in it would be the sender's. So users' own rules do
    # not see it. The folder is as good as another, and for the user to look into; Dovecot's log says why.
    fileinto :create "Unscanned";
    stop;
}

# All else is for the users' own scripts, and the inbox.
