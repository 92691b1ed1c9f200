package e2e

import (
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
)

// eventsAsShown does what docs/events.md shows, and checks that it shows what
// comes of it; nothing of it is left.
func eventsAsShown(r *replicaRoom) {
	t := r.t
	t.Helper()
	t.Cleanup(func() {
		r.db.Connect(t).Exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ('crm', 'crm_text')")
	})
	show := func(name, script string) {
		t.Helper()
		text := psqlSession(t, r.db, script)
		// Sent when the merge has committed, which may be a moment after the copy shows it.
		var notes []string
		text = regexp.MustCompile(`(?m)^Asynchronous notification .*\n`).ReplaceAllStringFunc(text, func(s string) string {
			notes = append(notes, regexp.MustCompile(`PID \d+`).ReplaceAllString(s, "PID 30641"))
			return ""
		})
		text = strings.Replace(text, "CALL hallway.wait_for_sync('crm.contacts'); -- again\n", strings.Join(notes, ""), 1)
		sample(t, "../events.md", name, sqlSample(text))
	}
	show("table", `
SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = 'crm.contacts'::regclass;`)
	show("trigger", `
CREATE TABLE public.feed (n bigserial, op text, id text, old_name text, new_name text);

CREATE FUNCTION public.note_contact() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO public.feed (op, id, old_name, new_name)
  VALUES (TG_OP, coalesce(NEW.id, OLD.id), OLD.last_name, NEW.last_name);
  PERFORM pg_notify('contacts', TG_OP || ' ' || coalesce(NEW.id, OLD.id));
  RETURN NULL;
END $$;

CREATE TRIGGER feed AFTER INSERT OR UPDATE OR DELETE ON hallway_cache.contacts_1
  FOR EACH ROW EXECUTE FUNCTION public.note_contact();`)
	show("publication", `
CREATE PUBLICATION crm FOR TABLE hallway_cache.contacts_1;
SELECT slot_name FROM pg_create_logical_replication_slot('crm', 'pgoutput');`)
	r.c.Exec("SELECT pg_create_logical_replication_slot('crm_text', 'test_decoding')")

	ids := r.ids(2)
	r.patch(ids[0], map[string]any{"last_name": "Keller-Frei"})
	r.delete(ids[1])
	require.NoError(t, r.pb.Call("POST", "/api/collections/contacts/records",
		map[string]any{"id": "0u8m5f46zft5akv", "email": "berger@example.com", "last_name": "Berger", "status": "lead"}, nil))
	show("notifications", `
LISTEN contacts;
CALL hallway.wait_for_sync('crm.contacts');
CALL hallway.wait_for_sync('crm.contacts'); -- again
SELECT op, id, old_name, new_name FROM feed ORDER BY n;`)
	show("pgoutput", `
SELECT chr(get_byte(data, 0)) AS message FROM pg_logical_slot_get_binary_changes(
  'crm', NULL, NULL, 'proto_version', '1', 'publication_names', 'crm');`)
	show("test_decoding", `
SELECT data FROM pg_logical_slot_get_changes('crm_text', NULL, NULL)
WHERE data LIKE 'table hallway_cache.contacts_1: DELETE%';`)
	r.c.Exec("DROP TRIGGER feed ON hallway_cache.contacts_1; DROP FUNCTION note_contact; DROP TABLE feed; DROP PUBLICATION crm")
	r.delete("0u8m5f46zft5akv")
	r.wait()
}
