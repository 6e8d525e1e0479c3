-- Access-log lines of one UTC day, in any number, drawn from real ones; the same lines on every run.
-- Variables: lines (how many), sample (file), day (DATE).

-- A number from 0 to below 1, fixed by an id and what it is drawn for.
CREATE MACRO drawn(id, purpose) AS hash(id, purpose) / 18446744073709551616.0;

-- The real lines: their hour, what follows their time up to the agent, and the agent. One has its end cut off, within
-- the agent: `ending` is then all that follows its time, and there is no agent.
CREATE TABLE real_lines AS
SELECT
    row_number() OVER () - 1 AS number,
    regexp_extract(line, '\[[^:]*:(\d\d)', 1)::INTEGER AS hour,
    regexp_extract(line, '\] (".*?" \d+ \S+ ".*?" )"[^"]*"$', 1) AS whole,
    if(whole = '', regexp_extract(line, '\] (.*)', 1), whole) AS ending,
    if(whole = '', NULL, regexp_extract(line, '"([^"]*)"$', 1)) AS agent
FROM read_csv(
    getvariable('sample'), columns := {'line': 'VARCHAR'}, header := false, auto_detect := false,
    delim := '\x01', quote := '', escape := ''
);

SET VARIABLE real_lines = (SELECT count(*) FROM real_lines);

-- Their agents, as often as they occur, in ten versions each.
CREATE TABLE agents AS
SELECT number * 10 + version AS id, replace(coalesce(agent, '-'), '.0.', '.' || version || '.') AS agent
FROM real_lines, range(10) AS versions (version);

-- Half of all visits come from a sixth of the hosts, the busiest host makes one in 70. A host has up to three agents.
CREATE TABLE visits AS
SELECT
    visit,
    floor(40000 * pow(drawn(visit, 'host'), 2.5))::BIGINT AS host,
    hash(host, floor(3 * pow(drawn(visit, 'agent'), 2))::BIGINT) % (SELECT count(*) FROM agents) AS agent,
    hour * 3600 + floor(3600 * drawn(visit, 'start'))::BIGINT AS start
FROM range((getvariable('lines') / 6)::BIGINT + 1) AS visits (visit)
JOIN real_lines ON number = hash(visit, 'hour') % getvariable('real_lines');

CREATE TABLE hosts AS
SELECT
    host,
    if(
        host % 20 = 7,
        format('2001:db8:{:x}:{:x}::{:x}', hash(host) % 65536, hash(host, 1) % 65536, hash(host, 2) % 65536),
        format('{}.{}.{}.{}', 1 + hash(host) % 222, hash(host, 1) % 256, hash(host, 2) % 256, hash(host, 3) % 256)
    ) AS address
FROM range(40000) AS hosts (host);

-- In the order in which the servers write them. Of 100,000 lines one comes a day late.
CREATE TABLE requests AS
SELECT
    (start + floor(900 * pow(drawn(line, 'pause'), 2))::BIGINT) % 86400 AS second,
    host,
    agent,
    hash(line, 'real') % getvariable('real_lines') AS number,
    hash(line, 'server') % 4 AS server,
    hash(line, 'late') % 100000 = 0 AS late
FROM range(getvariable('lines')) AS lines (line)
JOIN visits ON visit = floor(getvariable('lines') / 6 * pow(drawn(line, 'visit'), 1.3))::BIGINT
ORDER BY second, line;

CREATE VIEW lines AS
SELECT
    server,
    address || ' - - ['
    || strftime(getvariable('day') - late::INTEGER + second * INTERVAL 1 SECOND, '%d/%b/%Y:%H:%M:%S') || ' +0000] '
    || ending || if(real_lines.agent IS NULL, '', '"' || agents.agent || '"') AS line
FROM requests
JOIN hosts USING (host)
JOIN agents ON agents.id = requests.agent
JOIN real_lines USING (number);
