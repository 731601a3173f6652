// What an application does with supabase-js, as a server, as people who sign in, and without signing in.
// Started by test_supabase_js.py in a folder with the package; prints one JSON line per call.
import { createClient } from '@supabase/supabase-js'

const { url, north, south, east, tenant, admin, root, stranger, list } = JSON.parse(process.argv[2])
const part = (claims) => Buffer.from(JSON.stringify(claims)).toString('base64url')
const token = (claims) => [part({ alg: 'HS256', typ: 'JWT' }), part(claims), 'unsigned'].join('.')
const client = (key) => createClient(url, key, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: class {} },
})
const person = (sub) => client(token({ role: 'authenticated', aud: 'authenticated', sub }))
const clients = {
  service: client(token({ role: 'service_role' })),
  anon: client(token({ role: 'anon' })),
  tenant: person(tenant),
  admin: person(admin),
  root: person(root),
  stranger: person(stranger),
}

const rows = (n) => (r) => !r.error && r.data.length === n
const some = (r) => !r.error && r.data.length > 0
const ok = (r) => !r.error
const refused = (...codes) => (r) => r.error !== null && codes.includes(r.error.code)
const DENIED = refused('42501', 'PB403', 'PB404')
const nothing = (r) => (r.error ? DENIED(r) : (r.data ?? []).length === 0)

async function call (name, who, request, expected = ok) {
  const r = await request(clients[who])
  const got = r.error ? `${r.error.code} ${r.error.message}` : JSON.stringify(r.data ?? null).slice(0, 200)
  let passed = false
  try { passed = expected(r) } catch (error) { /* the shape is not the expected one */ }
  console.log(JSON.stringify({ name, who, passed, got: r.count == null ? got : `${got} count ${r.count}` }))
  return r.data
}

// ── what a server and the administrator of a program may do ─────────────────
for (const who of ['service', 'tenant', 'admin']) {
  const program_id = who === 'admin' ? east : north
  const t = (name, request, expected) => call(name, who, request, expected)
  const order = (message_text, more = {}) => ({ program_id, message_text: `${message_text} ${who}`, ...more })
  await t('push_preview', c => c.rpc('push_preview', { program_id, target: 'VIP' }), rows(1))
  await t('push_preview without a target', c => c.rpc('push_preview', { program_id }), r => r.data[0].matched > 0)
  await t('push_preview by GET', c => c.rpc('push_preview', { program_id }, { get: true }), rows(1))
  const id = await t('push_send', c => c.rpc('push_send', { program_id, message: `Hello from ${who}` }), r => ok(r) && typeof r.data === 'string')
  await t('push_send, optional arguments null', c => c.rpc('push_send', { program_id, message: `Nulls ${who}`, target: 'ALL', name: null, scheduled_at: '2100-03-01T10:00:00Z', expected: null }))
  await t('push_send, another number expected', c => c.rpc('push_send', { program_id, message: 'x', target: 'ALL', expected: 777 }), refused('PB409'))
  await t('push_send, unknown audience', c => c.rpc('push_send', { program_id, message: 'x', target: 'NOPE' }), refused('PB400'))
  await t('push_progress by GET', c => c.rpc('push_progress', { id }, { get: true }), rows(1))
  await t('push_progress, single', c => c.rpc('push_progress', { id }).single(), r => ok(r) && r.data.campaign_id === id)
  await t('push_test', c => c.rpc('push_test', { program_id, external_id: `card-${who}`, message: 'A test' }))
  const made = await t('insert, select, single', c => c.from('push_campaigns').insert(order('Inserted', { name: 'js', target_query: 'VIP', scheduled_at: '2100-01-05T10:00:00+01:00' })).select().single(), r => ok(r) && r.data.status === 'PENDING')
  const one = made.id
  await t('insert, nothing read back', c => c.from('push_campaigns').insert(order('Minimal')))
  await t('insert several drafts', c => c.from('push_campaigns').insert([order('One', { status: 'DRAFT' }), order('Two', { status: 'DRAFT' })]).select('id,status'), rows(2))
  await t('insert, status null', c => c.from('push_campaigns').insert(order('Null', { status: null })).select('id,status'), rows(1))
  await t('insert, a form of empty strings', c => c.from('push_campaigns').insert(order('Empty', { name: '', target_query: '', csv_upload_url: '', status: 'DRAFT' })).select('id,status,status_detail'), rows(1))
  await t('insert, the program read back', c => c.from('push_campaigns').insert(order('Embedded', { status: 'DRAFT' })).select('id,programs(name)').single(), r => r.data.programs.name.length > 0)
  await t('counters cannot be written', c => c.from('push_campaigns').insert(order('Forged', { status: 'DRAFT', sent_count: 99 })).select('sent_count'), r => r.error || r.data[0].sent_count === 0)
  await t('push_pause', c => c.rpc('push_pause', { id: one }), r => r.data.status === 'PAUSED')
  await t('push_resume', c => c.rpc('push_resume', { id: one }).select('id,status').single(), r => r.data.status === 'PENDING')
  await t('update to CANCELLED', c => c.from('push_campaigns').update({ status: 'CANCELLED' }).eq('id', one).select('status'), rows(1))
  await t('push_cancel', c => c.rpc('push_cancel', { id }), r => r.data.status === 'CANCELLED')
  await t('push_retry_failed, nothing failed', c => c.rpc('push_retry_failed', { id }), r => r.error === null || r.error.code.startsWith('PB'))
  await t('select with a count', c => c.from('push_campaigns').select('*', { count: 'exact' }).eq('program_id', program_id).order('created_at', { ascending: false }).limit(3), r => rows(3)(r) && r.count > 3)
  await t('select the count only', c => c.from('push_campaigns').select('*', { count: 'exact', head: true }), r => ok(r) && r.count > 3)
  await t('filter by a list', c => c.from('push_campaigns').select('id').in('status', ['DRAFT', 'CANCELLED']).eq('program_id', program_id), some)
  await t('campaigns with programs(name)', c => c.from('push_campaigns').select('id,name,programs(name)').eq('program_id', program_id), r => r.data.every(x => x.programs.name))
  await t('programs with push_campaigns', c => c.from('programs').select('id,push_campaigns(id,status)').eq('id', program_id).single(), r => r.data.push_campaigns.length > 3)
  await t('notification_logs with programs', c => c.from('notification_logs').select('*,programs:program_id(name)').limit(1))
  await t('push_deliveries', c => c.from('push_deliveries').select('external_id,name,outcome,reason').eq('program_id', program_id), r => some(r) && r.data.every(x => x.external_id))
  await t('push_deliveries with programs(name)', c => c.from('push_deliveries').select('external_id,programs(name)').eq('program_id', program_id).limit(1), r => r.data[0].programs.name)
  await t('push_deliveries with their campaign', c => c.from('push_deliveries').select('external_id,push_campaigns(name)').eq('program_id', program_id).limit(1), r => r.data[0].push_campaigns.name)
  await t('campaigns with push_deliveries', c => c.from('push_campaigns').select('id,push_deliveries(external_id,outcome)').eq('status', 'COMPLETED').eq('program_id', program_id), r => r.data[0].push_deliveries.length > 0)
  await t('push_list_problems', c => c.from('push_list_problems').select('*').eq('program_id', program_id), some)
  await t('member_import_rows', c => c.from('member_import_rows').select('*').limit(2))
  await t('order an import', c => c.from('member_imports').insert({ program_id, csv_upload_url: list }).select().single(), r => r.data.status === 'PENDING')
  await t('member_imports with programs(name)', c => c.from('member_imports').select('id,programs(name)').limit(1), r => r.data[0].programs.name)

  // What a campaign brought.
  await t('push_results', c => c.rpc('push_results', { campaign_id: id }).single(), r => r.data.campaign_id === id)
  await t('push_results_total', c => c.rpc('push_results_total', { program_id, since: '2026-01-01' }), rows(1))
  await t('push_plan', c => c.rpc('push_plan', { program_id, target: 'ALL', holdout_percent: 10 }).single(), r => r.data.sentence.length > 0)
  await t('push_report', c => c.rpc('push_report', { program_id, month: '2026-01-01' }), rows(1))

  // Messages that send themselves.
  const automation = await t('insert an automation', c => c.from('push_automations').insert({ program_id, name: 'Long away', occasion: 'DORMANT:30', message_text: 'We miss you' }).select().single(), r => r.data.is_on === false)
  const rule = automation?.id
  await t('automations with programs(name)', c => c.from('push_automations').select('id,programs(name)').eq('id', rule).single(), r => r.data.programs.name)
  await t('programs with push_automations', c => c.from('programs').select('id,push_automations(occasion)').eq('id', program_id).single(), r => r.data.push_automations.length > 0)
  await t('get_due', c => c.rpc('get_due', { automation_id: rule }))
  await t('get_due by GET, of a date', c => c.rpc('get_due', { automation_id: rule, on_date: '2026-05-13' }, { get: true }))
  await t('automation_preview', c => c.rpc('automation_preview', { id: rule, days: 3 }), rows(3))
  await t('switch it on', c => c.from('push_automations').update({ is_on: true }).eq('id', rule).select('is_on').single(), r => r.data.is_on === true)
  await t('run_automations', c => c.rpc('run_automations', { program_id }), rows(1))
  await t('automation_results', c => c.rpc('automation_results', { id: rule }))
  await t('an automation with its campaigns', c => c.from('push_automations').select('id,push_campaigns(id,status)').eq('id', rule).single())
  await t('an unknown occasion is refused', c => c.from('push_automations').insert({ program_id, occasion: 'FULL_MOON', message_text: 'x' }), r => r.error.code.startsWith('PB'))
  await t('delete the automation', c => c.from('push_automations').delete().eq('id', rule).select('id'), rows(1))

  // Who gets no messages for now.
  await t('suppress a member', c => c.from('push_suppressions').insert({ program_id, external_id: `card-${who}`, reason: 'staff' }).select().single())
  await t('suppressions with programs(name)', c => c.from('push_suppressions').select('external_id,programs(name)').eq('program_id', program_id), r => r.data[0].programs.name)
  await t('let the member back in', c => c.from('push_suppressions').delete().eq('program_id', program_id).select('id'), rows(1))
}

// ── what only a server may do ───────────────────────────────────────────────
await call('get_birthdays_today by GET', 'service', c => c.rpc('get_birthdays_today', {}, { get: true }))
await call('get_birthdays_today of a program', 'service', c => c.rpc('get_birthdays_today', { program_id: north }))
await call('run_birthdays', 'service', c => c.rpc('run_birthdays', { program_id: south }))
await call('run_automations everywhere', 'service', c => c.rpc('run_automations'))
await call('push_forget', 'service', c => c.rpc('push_forget', { external_id: 'NOBODY' }), r => r.error === null || r.error.code.startsWith('PB'))
await call('delete drafts', 'service', c => c.from('push_campaigns').delete().eq('status', 'DRAFT').select('id'), some)

// ── what belongs to others ─────────────────────────────────────────────────
for (const [who, program_id] of [['tenant', east], ['admin', north], ['stranger', north]]) {
  const t = (name, request, expected = DENIED) => call(`another's program: ${name}`, who, request, expected)
  await t('push_send', c => c.rpc('push_send', { program_id, message: 'x' }))
  await t('push_preview', c => c.rpc('push_preview', { program_id }))
  await t('push_plan', c => c.rpc('push_plan', { program_id }))
  await t('push_results_total', c => c.rpc('push_results_total', { program_id }))
  await t('push_report', c => c.rpc('push_report', { program_id, month: '2026-01-01' }))
  await t('run_automations', c => c.rpc('run_automations', { program_id }))
  await t('run_automations everywhere', c => c.rpc('run_automations'))
  await t('insert a campaign', c => c.from('push_campaigns').insert({ program_id, message_text: 'x' }))
  await t('insert an automation', c => c.from('push_automations').insert({ program_id, occasion: 'ANNIVERSARY', message_text: 'x' }))
  await t('suppress a member', c => c.from('push_suppressions').insert({ program_id, external_id: 'x' }))
  await t('order an import', c => c.from('member_imports').insert({ program_id, csv_upload_url: list }))
  for (const relation of ['push_campaigns', 'push_deliveries', 'push_automations', 'push_suppressions', 'push_list_problems', 'member_imports', 'member_import_rows']) {
    await t(`select ${relation}`, c => c.from(relation).select('*').eq('program_id', program_id), nothing)
  }
  await t('through the program', c => c.from('programs').select('id,push_campaigns(id),push_automations(id)').eq('id', program_id), nothing)
  await t('delete campaigns', c => c.from('push_campaigns').delete().eq('program_id', program_id).select('id'), nothing)
  await t('run_birthdays', c => c.rpc('run_birthdays', { program_id }))
  await t('push_forget', c => c.rpc('push_forget', { external_id: 'M1' }))
}

// ── whose are several programs, and whose are all ───────────────────────────
for (const [who, number] of [['tenant', 2], ['admin', 1], ['root', 3], ['stranger', 0]]) {
  await call("programs by the platform's own policy", who, c => c.from('programs').select('id,name'), rows(number))
}
for (const [who, programs] of [['tenant', [north, south]], ['root', [north, south, east]]]) {
  for (const program_id of programs) {
    await call('push_preview of each program', who, c => c.rpc('push_preview', { program_id }), rows(1))
    await call('a draft in each program', who, c => c.from('push_campaigns').insert({ program_id, message_text: `Each ${who}`, status: 'DRAFT' }).select('id'), rows(1))
  }
  await call('campaigns of all of them', who, c => c.from('push_campaigns').select('program_id'), r => new Set(r.data.map(x => x.program_id)).size === programs.length)
}

// ── who is not signed in ────────────────────────────────────────────────────
const arguments_ = {
  push_send: { program_id: north, message: 'x' }, push_preview: { program_id: north }, push_progress: { id: north },
  push_pause: { id: north }, push_resume: { id: north }, push_cancel: { id: north }, push_retry_failed: { id: north },
  push_test: { program_id: north, external_id: 'x', message: 'x' }, push_forget: { external_id: 'x' },
  push_results: { campaign_id: north }, push_results_total: { program_id: north }, push_plan: { program_id: north },
  push_report: { program_id: north, month: '2026-01-01' }, get_due: { automation_id: north }, automation_preview: { id: north },
  automation_results: { id: north }, run_automations: {}, get_birthdays_today: {}, run_birthdays: {},
}
for (const [name, given] of Object.entries(arguments_)) await call(name, 'anon', c => c.rpc(name, given), refused('42501'))
for (const relation of ['push_campaigns', 'push_deliveries', 'push_automations', 'push_suppressions', 'push_list_problems', 'member_imports', 'member_import_rows']) {
  await call(`select ${relation}`, 'anon', c => c.from(relation).select('*').limit(1), refused('42501'))
}
await call('insert a campaign', 'anon', c => c.from('push_campaigns').insert({ program_id: north, message_text: 'x' }), refused('42501'))
console.log(JSON.stringify({ name: 'all calls were made', who: 'end', passed: true, got: '' }))
