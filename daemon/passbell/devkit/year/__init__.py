"""A year of an invented restaurant, in minutes: `passbell demo --year`.

`life` is the guests, `restaurant` lives a day in the database, `tally` adds up what messages brought, `plot` and `page`
draw it, `show` is the command's run. Every rule (who is due, who is held back, how often is enough, what a result says)
is passbell's SQL; the clock is `passbell.now`. One process plays the daemon, and PassKit takes everything.
"""
