-- What Supabase Studio, psql and docs/reference/sql.md show beside the names that people use. Sentences about tables and
-- columns of ours that have none from the migration which made them; on the owner's columns only where there is none.
create or replace function passbell.comment_where_none(p_table text, p_column text, p_comment text) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_table   constant regclass := to_regclass(p_table);
    v_number  smallint;
begin
    select a.attnum into v_number from pg_catalog.pg_attribute a where a.attrelid = v_table and a.attname = p_column and not a.attisdropped;
    if v_number is not null and col_description(v_table, v_number) is null then
        execute format('comment on column %s.%I is %L', v_table, p_column, p_comment);
    end if;
end
$$;

do $$
declare
    v_line  record;
begin
    for v_line in
        select * from (values
            ('public.push_campaigns', 'id',              'The campaign.'),
            ('public.push_campaigns', 'program_id',      'The program whose members it goes to.'),
            ('public.push_campaigns', 'name',            'A name, for people to read.'),
            ('public.push_campaigns', 'message_text',    'What the phones show. {points}, {first_name}, {last_name}, {tier_points}, {program} are filled in; {first_name|there} with a fallback; {{ and }} are braces.'),
            ('public.push_campaigns', 'csv_upload_url',  'A link to a list of members; narrows the target.'),
            ('public.push_campaigns', 'sent_count',      'Passes whose text PassKit has stored.'),
            ('public.push_campaigns', 'failed_count',    'Passes that could not be reached; push_retry_failed tries them again.'),
            ('public.push_campaigns', 'skipped_count',   'Passes left out, each with a reason in passbell.deliveries.'),
            ('public.push_campaigns', 'recipient_count', 'Passes of the frozen audience: sent, failed, skipped and still to do.'),
            ('public.push_campaigns', 'created_at',      'When it was inserted.'),
            ('public.push_campaigns', 'updated_at',      'When it last changed.'),
            ('public.push_campaigns', 'scheduled_at',    'Not before; empty is at once.'),
            ('public.push_campaigns', 'started_at',      'When the audience was frozen.'),
            ('public.push_campaigns', 'completed_at',    'When it ended: completed, failed or cancelled.'),
            ('public.push_campaigns', 'kind',            'BROADCAST; BIRTHDAY and AUTOMATION, made by passbell; TEST (one pass, at any hour).'),
            ('public.push_campaigns', 'rate_per_second', 'Pushes per second of this campaign alone, below the rate of the account.'),
            ('public.push_campaigns', 'created_by',      'Who ordered it: e-mail of the signed-in user, name of the API key, or the role.'),
            ('public.member_imports', 'id',              'The import.'),
            ('public.member_imports', 'program_id',      'The program whose members they are.'),
            ('public.member_imports', 'csv_upload_url',  'A link to the file.'),
            ('public.member_imports', 'name',            'A name, for people to read.'),
            ('public.member_imports', 'status_detail',   'In plain words: what is going on, or what went wrong.'),
            ('public.member_imports', 'total_rows',      'Rows of the file.'),
            ('public.member_imports', 'processed_rows',  'Rows done so far: the five counts together.'),
            ('public.member_imports', 'created_count',   'Members who were created.'),
            ('public.member_imports', 'updated_count',   'Members with a changed value.'),
            ('public.member_imports', 'unchanged_count', 'Rows that changed nothing.'),
            ('public.member_imports', 'rejected_count',  'Rows that were not taken; member_import_rows says why.'),
            ('public.member_imports', 'created_at',      'When it was inserted.'),
            ('public.member_imports', 'started_at',      'When a daemon began it.'),
            ('public.member_imports', 'completed_at',    'When it ended: completed, failed or cancelled.'),
            ('public.member_imports', 'updated_at',      'When it last changed.'),
            ('public.member_imports', 'created_by',      'Who ordered it.'),
            ('public.push_automations', 'id', 'The automation.'),
            ('public.push_automations', 'program_id', 'The program whose members it is for.'),
            ('public.push_automations', 'name', 'A name for people; its campaigns carry it with the date.'),
            ('public.push_automations', 'message_text', 'What the phones show; placeholders as in push_campaigns.'),
            ('public.push_automations', 'measure_days', 'For how many days after a message a visit counts: 1 to 60.'),
            ('public.push_automations', 'priority', 'Of two campaigns that are due, the one with the higher number is sent first: 0 to 9.'),
            ('public.push_automations', 'starts_on', 'The first local date; empty is at once.'),
            ('public.push_automations', 'ends_on', 'The last local date, inclusive; empty is for ever.'),
            ('public.push_automations', 'last_run_on', 'The last local date whose run has ended.'),
            ('public.push_automations', 'fired_count', 'How many occasions had their message.'),
            ('public.push_automations', 'status_detail', 'In plain words: what its last run did, or what went wrong.'),
            ('public.push_automations', 'created_by', 'Who made it.'),
            ('public.push_automations', 'created_at', 'When it was made.'),
            ('public.push_automations', 'updated_at', 'When a person last changed it.'),
            ('public.push_suppressions', 'id', 'The entry.'),
            ('public.push_suppressions', 'program_id', 'The program of the member.'),
            ('public.push_suppressions', 'external_id', 'The member: external id of the pass.'),
            ('public.push_suppressions', 'reason', 'Why, for people to read.'),
            ('public.push_suppressions', 'created_by', 'Who entered it.'),
            ('public.push_suppressions', 'created_at', 'When it was entered.'),
            ('passbell.deliveries', 'campaign_id',       'The campaign.'),
            ('passbell.deliveries', 'pass_id',           'The recipient.'),
            ('passbell.deliveries', 'attempts',          'Requests that were made for it.'),
            ('passbell.deliveries', 'http_status',       'PassKit''s last answer; empty if there was none.'),
            ('passbell.deliveries', 'outcome',           'sent, failed or skipped.'),
            ('passbell.deliveries', 'reason',            'Why it was not sent, one of a closed list; empty if sent.'),
            ('passbell.deliveries', 'detail',            'PassKit''s words, or the bad placeholder.')
        ) as c (relation, name, words)
    loop
        perform passbell.comment_where_none(v_line.relation, v_line.name, v_line.words);
    end loop;
end
$$;

comment on table passbell.import_leases is 'Which daemon works on an import; leased like a chunk.';
comment on table passbell.migrations    is 'Which migrations are installed, and since when.';
comment on table passbell.settings      is 'One row: the schema''s version, retention, and the settings of the daemon that started last.';
comment on table passbell.turns         is 'Which program was served last, so that a small campaign does not wait behind a large one.';
comment on table passbell.workers       is 'One row per daemon: machine, process, last heartbeat, what it is doing.';

comment on function public.push_preview(uuid, text) is
    'The count of an audience: matched, in_wallet, opted_out, capped, reachable; how long it takes, and when it would end after the campaigns that wait already. Changes nothing.';
comment on function public.push_send(uuid, text, text, text, timestamptz, integer) is
    'Orders a campaign; returns its id. With expected, the number that a preview showed, it refuses with PB409 if the audience has changed since.';
comment on function public.push_test(uuid, text, text) is
    'One real push to one pass, by its external id, ahead of everything else and whatever the hour; returns the campaign''s id.';
comment on function public.push_pause(uuid) is
    'Stops a campaign within a second; requests under way are finished. Returns the campaign.';
comment on function public.push_resume(uuid) is
    'Goes on with a paused or held campaign, with those not reached yet. Returns the campaign.';
comment on function public.push_cancel(uuid) is
    'Ends a campaign for good: passes not reached yet become skipped, reason cancelled. Returns the campaign.';
comment on function public.push_retry_failed(uuid) is
    'Moves the failed passes of a campaign back into the queue. Returns the campaign.';
comment on function public.push_progress(uuid) is
    'How far a campaign is: counts, percent, pushes a second since it started, and when it will be done at that pace.';
comment on function public.get_birthdays_today(uuid, date) is
    'The birthdays of a day, in one program or in all whose bot is on, today in each program''s zone or on a local date, with the greeting as that member would read it. Changes nothing.';
comment on function public.run_birthdays(uuid, date) is
    'Gives the gifts of a day by hand; as often as you like: each member gets one gift. Returns what was done per program.';
comment on function public.push_forget(text) is
    'Erases what passbell stores about one member, by external id or pass id; returns how many rows of which table. It does not erase the platform''s own rows.';
comment on function passbell.check_conservation(uuid) is
    'Campaigns whose recipient_count is not the sum of waiting and decided passes, or that have a pass in both: normally none.';
comment on function passbell.after_restore(timestamptz) is
    'After a restore from a snapshot: pauses everything that would be sent again, so that a person decides; says what it found. For the owner, before the first daemon is started.';

comment on table passbell.sighted_programs is 'When passbell last looked for passes that are new in a wallet.';
comment on table passbell.sightings        is 'When a pass was first seen in a wallet.';
comment on table passbell.crossings        is 'Whether a person is inside an automation''s mark; people who never were have no row.';

comment on function public.push_results(uuid) is
    'What a campaign brought: people sent and held back, how many of either came, the difference with its 95 % interval, and a sentence. Counted once, when its window has closed.';
comment on function public.push_results_total(uuid, date, date) is
    'All campaigns of a program between two local dates added up; the columns of push_results, and how many campaigns are in it.';
comment on function public.push_plan(uuid, text, numeric) is
    'How large an effect a share held back would show. Changes nothing.';
comment on function public.push_report(uuid, date) is
    'The month of a program in one row: messages, phones, guests brought, who left, which passes reach no phone.';
comment on function public.get_due(uuid, date) is
    'The members who are due on a local date, without those who got the message already. Changes nothing.';
comment on function public.run_automations(uuid, date) is
    'Runs what is due, in one program or in all; as often as you like: each member gets one message per occasion.';
comment on function public.automation_preview(uuid, integer) is
    'A backtest: how many people the automation would have been due for on each of the last days. Changes nothing.';
comment on function public.automation_results(uuid) is
    'What an automation has brought so far, with an interval that is valid at every look; the columns of push_results.';
