"""`passbell web`: the HTTP API and the Notification Manager page, a thin face over the SQL functions.

    connections.py  what a connection may weigh, how long it may take, how many there may be
    gate.py      around everything: request ids, keys, sessions, limits, security headers, one log line per request
    auth.py      API keys in constant time, rate limits
    errors.py    the one shape of every error
    app.py       puts it together
    api/         the calls of the HTTP API
    page/        the page: sign-in, compose, history, birthdays, imports, status

No rule lives here. Whoever reaches the database another way gets the same answers.
"""
