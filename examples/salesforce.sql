-- A Salesforce org as tables. Run it with psql, with the org's My Domain:
--
--	psql -v instance=https://example.my.salesforce.com -f examples/salesforce.sql
--
-- and with a file "salesforce" in the sidecar's secret store that has the options of
-- a login, such as client_id, client_secret and refresh_token; the sidecar's
-- allow_hosts must have the host.

CREATE EXTENSION IF NOT EXISTS hallway;
CREATE SERVER salesforce FOREIGN DATA WRAPPER hallway
  OPTIONS (connector 'salesforce', instance_url :'instance');
CREATE USER MAPPING FOR CURRENT_USER SERVER salesforce OPTIONS (secret 'salesforce');

-- Only the objects that are named are described, custom fields and all.
CREATE SCHEMA crm;
IMPORT FOREIGN SCHEMA "default" LIMIT TO (account, contact, opportunity)
  FROM SERVER salesforce INTO crm;

-- Filter, order and limit become SOQL: the org sends ten rows.
SELECT name, amount, closedate
  FROM crm.opportunity
 WHERE amount >= 10000 AND NOT isclosed
 ORDER BY amount DESC NULLS FIRST
 LIMIT 10;

-- EXPLAIN shows the statement, and what became of each condition.
EXPLAIN (COSTS OFF)
SELECT id FROM crm.contact WHERE email ILIKE '%@example.com' AND createddate >= now() - interval '7 days';

-- A table by hand, with fields of related records: no join, one call.
CREATE FOREIGN TABLE crm.person (
  id      text OPTIONS (field 'Id', key 'true') NOT NULL,
  name    text OPTIONS (field 'Name'),
  email   text OPTIONS (field 'Email'),
  company text OPTIONS (field 'Account.Name'),
  owner   text OPTIONS (field 'Account.Owner.Name')
) SERVER salesforce OPTIONS (object 'Contact');
SELECT * FROM crm.person WHERE company = 'Acme' LIMIT 5;

-- Local rows and the org's: contacts of whom we know more.
CREATE TEMP TABLE visitor (email text, visits int);
INSERT INTO visitor VALUES ('ada@example.com', 12), ('grace@example.com', 3);
SELECT c.name, v.visits FROM visitor v JOIN crm.contact c USING (email);

-- Writes. What the org refuses is an error of the statement.
BEGIN;
INSERT INTO crm.account (name, industry) VALUES ('Acme', 'Technology') RETURNING id;
UPDATE crm.account SET industry = 'Other' WHERE name = 'Acme';
DELETE FROM crm.account WHERE name = 'Acme';
COMMIT;

-- What was deleted and is still in the recycle bin.
IMPORT FOREIGN SCHEMA "default" LIMIT TO ("case") FROM SERVER salesforce INTO crm;
ALTER FOREIGN TABLE crm."case" OPTIONS (ADD include_deleted 'true');
SELECT casenumber, systemmodstamp FROM crm."case" WHERE isdeleted ORDER BY systemmodstamp DESC LIMIT 5;
