-- The loader has staged every row of the campaign's list (in this same transaction): the next claim expands it.
-- Raises PB412 if another daemon holds the load by now.
create or replace function passbell.list_loaded(p_campaign uuid, p_claim_token uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    update passbell.list_loads l
       set loaded = true, lease_until = null, claim_token = null, worker = null
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token;
    if not found then
        raise exception 'the lease on the list of campaign % is lost', p_campaign using errcode = 'PB412';
    end if;
    perform pg_notify('passbell', 'pending');
end
$$;

-- The list could not be had. A trouble that may pass is tried again, three times in all; then the campaign fails with
-- the sentence.
create or replace function passbell.list_failed(p_campaign uuid, p_claim_token uuid, p_detail text, p_again boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    v_attempt  smallint;
begin
    update passbell.list_loads l
       set lease_until = null, claim_token = null, worker = null,
           not_before = passbell.now() + make_interval(secs => 5 * power(4, l.attempt - 1))
     where l.campaign_id = p_campaign and l.claim_token = p_claim_token
    returning l.attempt into v_attempt;
    if found and not (p_again and v_attempt < 3) then
        perform passbell.fail_campaign(p_campaign, p_detail);
    end if;
end
$$;
