"""`passbell web`: the HTTP API and the Notification Manager page, a thin layer over the SQL functions.

    serve.py        listens and runs the server
    connections.py  bounds on the size, time and number of connections
    gate.py         in front of the framework: request ids, keys, sessions, limits, security headers, the log line
    auth.py         who is calling: API keys, sessions, rate limits
    app.py          builds the application: which calls and pages there are
    context.py      what every handler is given
    once.py         answers, and Idempotency-Key
    errors.py       the one shape of every error
    uploads.py      uploaded files: lists and members
    api/            the calls of the HTTP API, one tag a module; strict.py and audience.py judge what a request says
    page/           the page: sign-in, compose, history, programs, automations, birthdays, imports, status
    calls/          the SQL functions behind all of it, and the rows that they return

No rule is written here. Other clients of the database get the same answers.
"""
