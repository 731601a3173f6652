-- For a push_campaigns of the owner's that has a column `message` beside our message_text: a form fills in one of them, and
-- both get the same text. Runs before passbell_guard, because triggers run in the order of their names.
do $$
begin
    if not passbell.has_column('public.push_campaigns', 'message') then
        return;
    end if;
    create or replace function passbell.keep_message() returns trigger
    language plpgsql
    set search_path = ''
    as $keep$
    begin
        if tg_op = 'UPDATE' and new.message is distinct from old.message and new.message_text is not distinct from old.message_text then
            new.message_text := new.message;
        else
            new.message_text := coalesce(new.message_text, new.message);
        end if;
        new.message := new.message_text;
        return new;
    end
    $keep$;
    create or replace trigger passbell_a_message before insert or update on public.push_campaigns
        for each row execute function passbell.keep_message();
end
$$;
