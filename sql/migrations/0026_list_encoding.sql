-- 0026: the encoding of a hit list can be said, as that of a member import.

alter table public.push_campaigns add column if not exists csv_encoding text;
comment on column public.push_campaigns.csv_encoding is
    'The encoding of the list at csv_upload_url (UTF-8, cp1250, Shift_JIS …), where it does not say so itself and the guess was wrong.';

alter table passbell.list_loads add column if not exists encoding text;
comment on column passbell.list_loads.encoding is 'What csv_encoding said when the list was loaded by its link. Another encoding is another list.';
