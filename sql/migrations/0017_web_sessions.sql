-- 0017: the sessions of the page live in the database, so that signing out ends one for every process of `passbell web`.

create table if not exists passbell.web_sessions (
    digest     text         primary key,
    key_name   text         not null,
    opened_at  timestamptz  not null default now(),
    ends_at    timestamptz  not null
);
comment on table  passbell.web_sessions is 'Sessions of the page: one row from sign-in to sign-out, at most twelve hours.';
comment on column passbell.web_sessions.digest is 'SHA-256 of the id in the cookie; the id itself stands nowhere.';
comment on column passbell.web_sessions.key_name is 'Name of the API key that signed in; never the key itself.';

create index if not exists web_sessions_ends on passbell.web_sessions (ends_at);
