"""OSCQuery: what OSC devices can be told and asked, as a tree that a program can read. Loaded only if it is on."""
