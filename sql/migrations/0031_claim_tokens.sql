-- The token under which a run was claimed. The daemon chooses it, so a claim whose answer was lost is asked for again.
alter table passbell.birthday_runs add column if not exists claim_token uuid;
alter table passbell.automation_runs add column if not exists claim_token uuid;
comment on column passbell.birthday_runs.claim_token is 'Chosen by the daemon that claims the run; see passbell.enter_claim.';
comment on column passbell.automation_runs.claim_token is 'Chosen by the daemon that claims the run; see passbell.enter_claim.';
