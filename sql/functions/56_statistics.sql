-- Statistics of two shares, each in a function of its own, with its source. Nothing here reads a table.
--
-- All of them compare an arm that was sent a message (n1 people, k1 of them came) with one that was held back (n0, k0).
-- Intervals are 95 % (z = 1.959964). Shares and differences are fractions: 0.05 is five in a hundred. Each answers NULL
-- where it has nothing to go by (an empty arm), never an error.

-- Wilson's score interval of one share.
-- Source: E. B. Wilson, JASA 22:209, 1927; as method 3 in R. G. Newcombe, Statistics in Medicine 17:857, 1998.
create or replace function passbell.wilson(p_k bigint, p_n bigint, out lo double precision, out hi double precision)
language plpgsql immutable
set search_path = ''
as $$
declare
    v_z       constant double precision := 1.959964;
    v_share   double precision;
    v_middle  double precision;
    v_spread  double precision;
begin
    if coalesce(p_n, 0) <= 0 or p_k is null then
        return;
    end if;
    v_share  := p_k::double precision / p_n;
    v_middle := (v_share + v_z * v_z / (2 * p_n)) / (1 + v_z * v_z / p_n);
    v_spread := v_z * sqrt(v_share * (1 - v_share) / p_n + v_z * v_z / (4.0 * p_n * p_n)) / (1 + v_z * v_z / p_n);
    lo := greatest(0, v_middle - v_spread);
    hi := least(1, v_middle + v_spread);
end
$$;

-- The difference of two shares, and its interval from two Wilson intervals. It holds its 95 % also for arms of thirty and
-- shares of two in a hundred, where the usual z-test (Wald) holds 57 %.
-- Source: method 10 of R. G. Newcombe, Statistics in Medicine 17:873, 1998. Example: 56/70 and 48/80 give
-- 0.2000 (0.0524, 0.3339).
create or replace function passbell.newcombe(
    p_k1 bigint, p_n1 bigint, p_k0 bigint, p_n0 bigint,
    out diff double precision, out lo double precision, out hi double precision)
language plpgsql immutable
set search_path = ''
as $$
declare
    v_1   record;
    v_0   record;
    v_p1  double precision;
    v_p0  double precision;
begin
    if coalesce(p_n1, 0) <= 0 or coalesce(p_n0, 0) <= 0 then
        return;
    end if;
    v_p1 := p_k1::double precision / p_n1;
    v_p0 := p_k0::double precision / p_n0;
    select w.lo, w.hi into v_1 from passbell.wilson(p_k1, p_n1) w;
    select w.lo, w.hi into v_0 from passbell.wilson(p_k0, p_n0) w;
    diff := v_p1 - v_p0;
    lo := diff - sqrt(power(v_p1 - v_1.lo, 2) + power(v_0.hi - v_p0, 2));
    hi := diff + sqrt(power(v_1.hi - v_p1, 2) + power(v_p0 - v_0.lo, 2));
end
$$;

-- Many small comparisons added up: the Mantel–Haenszel risk difference over strata (one campaign is one stratum), with
-- Sato's variance, which holds for few large strata and for many small ones. The arrays are parallel; a stratum with an
-- empty arm adds nothing.
-- Sources: S. Greenland, J. M. Robins, Biometrics 41:55, 1985; T. Sato, Biometrics 45:1323, 1989.
create or replace function passbell.mantel_haenszel(
    p_k1 bigint[], p_n1 bigint[], p_k0 bigint[], p_n0 bigint[],
    out diff double precision, out lo double precision, out hi double precision)
language plpgsql immutable
set search_path = ''
as $$
declare
    v_z         constant double precision := 1.959964;
    v_weight    double precision;
    v_variance  double precision;
    v_p         double precision;
    v_q         double precision;
begin
    select sum((s.k1 * s.n0 - s.k0 * s.n1) / s.n) / nullif(sum(s.n1 * s.n0 / s.n), 0), sum(s.n1 * s.n0 / s.n),
           sum((s.n1 * s.n1 * s.k0 - s.n0 * s.n0 * s.k1 + s.n1 * s.n0 * (s.n0 - s.n1) / 2) / (s.n * s.n)),
           sum((s.k1 * (s.n0 - s.k0) + s.k0 * (s.n1 - s.k1)) / (2 * s.n))
      into diff, v_weight, v_p, v_q
      from (select u.k1::double precision, u.n1::double precision, u.k0::double precision, u.n0::double precision,
                   (u.n1 + u.n0)::double precision as n
              from unnest(p_k1, p_n1, p_k0, p_n0) as u (k1, n1, k0, n0)
             where u.n1 > 0 and u.n0 > 0) s;
    if diff is null then
        return;
    end if;
    v_variance := greatest(0, (diff * v_p + v_q) / (v_weight * v_weight));
    lo := diff - v_z * sqrt(v_variance);
    hi := diff + v_z * sqrt(v_variance);
end
$$;

-- An interval that is valid at every look, for results that are looked at day after day: the normal mixture of the
-- sequential probability ratio test (mSPRT). The variance is that of the difference with half a success added to each arm;
-- the mixture's width is 0.05. NULL with fewer than 30 held back.
-- Sources: R. Johari, L. Pekelis, D. Walsh, Always Valid Inference, arXiv 1512.04922; H. Robbins, Ann. Math. Stat. 41:1397, 1970.
create or replace function passbell.always_valid(
    p_k1 bigint, p_n1 bigint, p_k0 bigint, p_n0 bigint,
    out diff double precision, out lo double precision, out hi double precision)
language plpgsql immutable
set search_path = ''
as $$
declare
    v_alpha     constant double precision := 0.05;
    v_tau       constant double precision := 0.05 * 0.05;     -- squared
    v_p1        double precision;
    v_p0        double precision;
    v_variance  double precision;
    v_radius    double precision;
begin
    if coalesce(p_n1, 0) <= 0 or coalesce(p_n0, 0) < 30 then
        return;
    end if;
    v_p1 := (p_k1 + 0.5) / (p_n1 + 1.0);
    v_p0 := (p_k0 + 0.5) / (p_n0 + 1.0);
    v_variance := v_p1 * (1 - v_p1) / p_n1 + v_p0 * (1 - v_p0) / p_n0;
    v_radius := sqrt(2 * v_variance * (v_variance + v_tau) / v_tau
                     * (ln(1 / v_alpha) + 0.5 * ln((v_variance + v_tau) / v_variance)));
    diff := p_k1::double precision / p_n1 - p_k0::double precision / p_n0;
    lo := greatest(-1, diff - v_radius);
    hi := least(1, diff + v_radius);
end
$$;

-- The smallest difference that two arms of this size would show four times out of five (95 %, power 80 %), as a fraction.
-- Source: the normal approximation, 1.96 + 0.84; any textbook on sample sizes, e.g. J. L. Fleiss, Statistical Methods for
-- Rates and Proportions.
create or replace function passbell.smallest_visible(p_base_rate double precision, p_n1 bigint, p_n0 bigint) returns double precision
language sql immutable
set search_path = ''
as $$
    select case when p_n1 > 0 and p_n0 > 0
                then 2.80 * sqrt(p_base_rate * (1 - p_base_rate) * (1.0 / p_n1 + 1.0 / p_n0)) end
$$;

-- Are as many held back as were to be drawn? Allows for chance (3.3 standard deviations: one in a thousand). Where the same
-- people are counted again and again with the one lot they have, chance is wider: p_spread is the sum of the squares of how
-- often each was counted, over the sum (the design effect of L. Kish, Survey Sampling, 1965).
drop function if exists passbell.drawn_as_planned(bigint, bigint, numeric);
create or replace function passbell.drawn_as_planned(p_held bigint, p_n bigint, p_percent numeric, p_spread double precision default 1) returns boolean
language sql immutable
set search_path = ''
as $$
    select abs(p_held - p_n * p_percent / 100.0) <= 3.3 * sqrt(p_n * (p_percent / 100.0) * (1 - p_percent / 100.0) * greatest(p_spread, 1))
$$;

-- A person's lot in a drawing, from 0 up to 1: the first 32 bits of sha256(person || salt). The same on every server and
-- after a restore, and independent between salts. Both are plain ASCII. Without a search path of its own it is inlined into the
-- query that calls it. A person whose lot is below the percentage is held back.
create or replace function passbell.lot(p_person uuid, p_salt text) returns double precision
language sql immutable
as $$
    select ('x' || pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256((p_person::text || p_salt)::bytea), 1, 4), 'hex'))::bit(32)::bigint / 4294967296.0::double precision
$$;

-- Is the person among the `p_percent` in 100 that are held back? In plpgsql, so that a claim which holds no one back does not
-- prepare the whole expression.
create or replace function passbell.is_held_out(p_person uuid, p_salt text, p_percent numeric) returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
    return passbell.lot(p_person, p_salt) * 100 < p_percent;
end
$$;
