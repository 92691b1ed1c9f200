-- A Stripe account as tables. Put a key, best a restricted one of the sandbox, into
-- the sidecar's secret store under the name stripe:
--
--   psql -f stripe.sql
\set ON_ERROR_STOP on

CREATE EXTENSION IF NOT EXISTS hallway;
CREATE SERVER stripe FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe');
CREATE USER MAPPING FOR CURRENT_USER SERVER stripe OPTIONS (secret 'stripe');

CREATE SCHEMA stripe;
IMPORT FOREIGN SCHEMA "default" FROM SERVER stripe INTO stripe;
\det stripe.*

-- A range of created is what Stripe filters by; it keeps scans short.
SELECT date_trunc('day', created)::date AS day, currency, count(*), sum(amount) / 100.0 AS volume
  FROM stripe.charges
 WHERE created >= now() - interval '7 days' AND status = 'succeeded'
 GROUP BY 1, 2 ORDER BY 1, 2;

-- Who owes what: invoices by their status, and the customer by a lookup of the key.
SELECT c.email, i.number, i.amount_remaining / 100.0 AS open, i.due_date::date
  FROM stripe.invoices i JOIN stripe.customers c ON c.id = i.customer
 WHERE i.status = 'open' AND i.due_date < now()
 ORDER BY i.due_date LIMIT 20;

-- Members of nested objects, keys of metadata, and columns of related records.
CREATE FOREIGN TABLE orders (
  id       text OPTIONS (key 'true') NOT NULL,
  created  timestamptz NOT NULL,
  amount   bigint,
  order_no text OPTIONS (field 'metadata.order_no'),
  last4    text OPTIONS (field 'payment_method_details.card.last4'),
  customer text,
  mail     text OPTIONS (field 'customer.email')
) SERVER stripe OPTIONS (object 'charges');
SELECT order_no, amount, last4, mail FROM orders WHERE created >= now() - interval '1 day';

-- What the request is, and what PostgreSQL does itself.
EXPLAIN (COSTS OFF)
SELECT id FROM stripe.subscriptions WHERE status = 'past_due' AND days_until_due > 3;

-- Writing. Nothing is sent until dry_run is off.
SET hallway.dry_run = on;
INSERT INTO stripe.customers (name, email, address_city, metadata)
VALUES ('Ada Byron', 'ada@example.com', 'London', '{"crm": "17"}');
RESET hallway.dry_run;

BEGIN;
INSERT INTO stripe.customers (name, email) VALUES ('Ada Byron', 'ada@example.com') RETURNING id AS ada \gset
UPDATE stripe.customers SET address_city = 'London', metadata = '{"crm": "17"}' WHERE id = :'ada';
SELECT name, address_city, metadata ->> 'crm' AS crm FROM stripe.customers WHERE id = :'ada';
DELETE FROM stripe.customers WHERE id = :'ada';
COMMIT;

-- What happened lately.
SELECT created, type, object_id FROM stripe.events
 WHERE type IN ('customer.created', 'customer.deleted') AND created >= now() - interval '1 hour'
 ORDER BY created, type;
