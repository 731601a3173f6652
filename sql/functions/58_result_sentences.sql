-- What is said of the counts: verdicts and sentences. Sentences of a plan, and of campaigns added up, are beside their
-- questions (59_result_answers).

-- The verdict, and the sentence that people read.
-- p_others: what follows "too small to say anything", from the program's other campaigns; NULL if there is nothing.
create or replace function passbell.judge_result(
    p_visits boolean, p_trusted boolean, p_sent bigint, p_sent_came bigint, p_held bigint, p_held_came bigint,
    p_diff double precision, p_lo double precision, p_hi double precision, p_days integer, p_others text default null,
    out verdict text, out sentence text)
language plpgsql stable
set search_path = ''
as $$
declare
    v_extra     constant double precision := p_sent * p_diff;
    v_lo        constant double precision := p_sent * p_lo;
    v_hi        constant double precision := p_sent * p_hi;
    v_base      double precision;
    v_smallest  double precision;
begin
    if coalesce(p_held, 0) = 0 then
        verdict := 'no_holdout';
        sentence := format('%s of %s came within %s. Nobody was held back, so nobody knows how many would have come anyway.',
                           passbell.thousands(p_sent_came), passbell.thousands(p_sent), passbell.days(p_days));
    elsif not p_trusted then
        verdict := 'untrusted';
        sentence := passbell.untrusted_words();
    elsif p_lo > 0 then
        verdict := 'more';
        sentence := format('It brought about %s more than without it: between %s and %s.',
                           passbell.guests(v_extra), passbell.thousands(round(v_lo::numeric)), passbell.thousands(round(v_hi::numeric)));
    elsif p_hi < 0 then
        verdict := 'fewer';
        sentence := format('Fewer came than without it: between %s and %s fewer. One in forty such results is chance; if the next is the same, stop.',
                           passbell.thousands(round(-v_hi::numeric)), passbell.thousands(round(-v_lo::numeric)));
    else
        v_base := p_held_came::double precision / p_held;
        v_smallest := passbell.smallest_visible(v_base, p_sent, p_held);
        if p_held < 30 or coalesce(p_sent, 0) = 0 or v_smallest >= v_base then     -- equal if no member came: nothing is known of the rate
            verdict := 'too_small';
            sentence := concat_ws(' ', format('This campaign was too small to say anything (%s held back).', passbell.thousands(p_held)), p_others);
        else
            verdict := 'unclear';
            sentence := format('It cannot be said whether it brought anybody: between %s fewer and %s more. With %s held back, only %s or more would have been seen.',
                               passbell.thousands(round(-v_lo::numeric)), passbell.thousands(round(v_hi::numeric)),
                               passbell.thousands(p_held), passbell.thousands(greatest(1, round((v_smallest * p_sent)::numeric))));
        end if;
    end if;
    if not p_visits then
        verdict := case when verdict = 'no_holdout' then verdict else 'untrusted' end;
        sentence := passbell.no_visits_words();
    end if;
end
$$;

-- "4,049 came within 7 days. Of the 1,985 held back 20.2 % came as well, so about 3,639 would have come anyway." Beside the
-- number, so that people see the difference between who came and who was brought. p_anyway: how many that is.
create or replace function passbell.came_anyway(
    p_sent_came bigint, p_held bigint, p_held_came bigint, p_anyway double precision, p_days integer) returns text
language sql immutable
set search_path = ''
as $$
    select format('%s came within %s. Of the %s held back %s %% came as well, so about %s would have come anyway.',
                  passbell.thousands(p_sent_came), coalesce(passbell.days(p_days), 'the days measured'), passbell.thousands(p_held),
                  round(100.0 * p_held_came / p_held, 1), passbell.thousands(round(greatest(0, p_anyway)::numeric)))
     where p_held > 0 and p_sent_came is not null
$$;

-- Did both arms visit alike before the message? A sentence beside the number, which never changes the verdict. NULL where
-- an arm is empty.
create or replace function passbell.alike_before(p_sent bigint, p_sent_before bigint, p_held bigint, p_held_before bigint, p_days integer) returns text
language sql stable
set search_path = ''
as $$
    select format(case when n.lo > 0 or n.hi < 0
                       then 'In the %s before the message the two groups did not visit alike: %s %% of those sent it came, %s %% of those held back. One in twenty such draws is uneven; take the number with care.'
                       else 'In the %s before the message both visited alike: %s %% of those sent it came, %s %% of those held back.' end,
                  passbell.days(p_days), round(100.0 * p_sent_before / p_sent, 1), round(100.0 * p_held_before / p_held, 1))
      from passbell.newcombe(p_sent_before, p_sent, p_held_before, p_held) n
     where p_sent > 0 and p_held > 0
$$;

-- "about 5 in 100 more came, between 0 and 10.", or "fewer". Decimals only below ten in a hundred, where they matter.
create or replace function passbell.in_a_hundred(p_diff double precision, p_lo double precision, p_hi double precision) returns text
language sql immutable
set search_path = ''
as $$
    select format('about %s in 100 %s came, between %s and %s.', passbell.per_hundred(abs(p_diff)),
                  case when p_diff < 0 then 'fewer' else 'more' end,
                  case when p_lo < 0 and p_diff >= 0 then passbell.per_hundred(-p_lo) || ' fewer'
                       when p_diff < 0 then passbell.per_hundred(abs(least(p_hi, 0))) || case when p_hi > 0 then ' fewer' else '' end
                       else passbell.per_hundred(p_lo) end,
                  case when p_diff >= 0 then passbell.per_hundred(p_hi) || case when p_lo < 0 then ' more' else '' end
                       else passbell.per_hundred(abs(p_lo)) end)
$$;

-- 0.0512 as "5", 0.0031 as "0.3".
create or replace function passbell.per_hundred(p_share double precision) returns text
language sql immutable
set search_path = ''
as $$
    select case when abs(p_share) >= 0.0095 or abs(p_share) < 0.0005 then round((100 * p_share)::numeric)::text
                else round((100 * p_share)::numeric, 1)::text end
$$;

-- Said instead of a result where the host records no visits.
create or replace function passbell.no_visits_words() returns text
language sql immutable
set search_path = ''
as $$ select 'This database records no visits, so nobody knows who came.' $$;

-- Said instead of a result whose share held back is not the one that was drawn.
create or replace function passbell.untrusted_words() returns text
language sql immutable
set search_path = ''
as $$ select 'Something changed who was held back; this number is not shown.' $$;
