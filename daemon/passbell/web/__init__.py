"""`passbell web`: the HTTP API and the Notification Manager page, a thin layer over the SQL functions.

    connections.py  bounds on the size, time and number of connections
    gate.py      around everything: request ids, keys, sessions, limits, security headers, one log line per request
    auth.py      API keys in constant time, rate limits
    errors.py    the one shape of every error
    app.py       builds the application
    api/         the calls of the HTTP API
    page/        the page: sign-in, compose, history, birthdays, imports, status

No rule is written here. Other clients of the database get the same answers.
"""
