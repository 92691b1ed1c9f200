// The CRM's content: the same for the same number of contacts, ids and times
// included, on every machine and on every day.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

const (
	// seedVersion goes up with every change of content or schema: a directory
	// filled by another version is filled anew.
	seedVersion = 1
	seedNumber  = 20240229

	markerFile = "hallway-crm.json"
	tokensDir  = "tokens"
	// tokenLife is long, as a test's or demo's token is not to be renewed.
	tokenLife = 10 * 365 * 24 * time.Hour
)

// marker says what a data directory holds.
type marker struct {
	Version  int `json:"version"`
	Contacts int `json:"contacts"`
}

// prepare fills dir unless it holds just what is wanted, and says if it did.
// It replaces only what a former run has made: a directory that holds anything
// else is an error.
func prepare(dir string, contacts int) (bool, error) {
	if contacts < 0 {
		return false, fmt.Errorf("--contacts must be 0 or more, not %d", contacts)
	}
	want := marker{Version: seedVersion, Contacts: contacts}
	text, err := os.ReadFile(filepath.Join(dir, markerFile))
	switch {
	case err == nil:
		var have marker
		if json.Unmarshal(text, &have) == nil && have == want {
			return false, nil
		}
	case errors.Is(err, os.ErrNotExist):
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) > 0 {
			return false, fmt.Errorf("%s is not empty and was not made by this program: give another --dir", dir)
		}
	default:
		return false, fmt.Errorf("reading what %s holds: %w", dir, err)
	}

	// Filled beside its place and moved there when whole, so that a run cut
	// short leaves nothing that looks finished.
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return false, fmt.Errorf("making %s: %w", filepath.Dir(dir), err)
	}
	work := dir + ".filling"
	if err := os.RemoveAll(work); err != nil {
		return false, fmt.Errorf("removing what a former run left: %w", err)
	}
	if err := fill(work, contacts); err != nil {
		return false, errors.Join(err, os.RemoveAll(work))
	}
	text, err = json.Marshal(want)
	if err != nil {
		return false, fmt.Errorf("encoding the marker: %w", err)
	}
	if err := writeFile(filepath.Join(work, markerFile), string(text)+"\n", 0o644); err != nil {
		return false, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("removing former data: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return false, fmt.Errorf("moving the data to its place: %w", err)
	}
	return true, nil
}

// fill makes a PocketBase with schema, accounts and rows in an empty directory.
func fill(dir string, contacts int) error {
	app, err := open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = app.ResetBootstrapState() }()
	if err := app.RunAllMigrations(); err != nil {
		return fmt.Errorf("preparing PocketBase: %w", err)
	}
	settings := app.Settings()
	settings.Meta.AppName = "Hallway CRM"
	// PocketBase's own 3 seconds are few for 50 writes on a busy machine.
	settings.Batch.Enabled, settings.Batch.MaxRequests, settings.Batch.Timeout = true, 50, 30
	settings.Logs.MaxDays = 0
	if err := app.Save(settings); err != nil {
		return fmt.Errorf("changing settings: %w", err)
	}
	if err := createSchema(app); err != nil {
		return err
	}
	if err := createAccounts(app, dir); err != nil {
		return err
	}
	// One transaction: 12,000 commits would take longer than all the rest.
	return app.RunInTransaction(func(tx core.App) error {
		return createRows(tx, contacts)
	})
}

func createAccounts(app core.App, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, tokensDir), 0o755); err != nil {
		return fmt.Errorf("making the directory of tokens: %w", err)
	}
	for _, a := range accounts {
		name := "users"
		if a.superuser {
			name = core.CollectionNameSuperusers
		}
		c, err := app.FindCollectionByNameOrId(name)
		if err != nil {
			return fmt.Errorf("finding %s: %w", name, err)
		}
		r := core.NewRecord(c)
		r.SetEmail(a.email)
		r.SetPassword(a.password)
		r.SetVerified(true)
		if a.role != "" {
			r.Set("role", a.role)
		}
		if err := app.Save(r); err != nil {
			return fmt.Errorf("creating %s: %w", a.email, err)
		}
		token, err := r.NewStaticAuthToken(tokenLife)
		if err != nil {
			return fmt.Errorf("making a token for %s: %w", a.email, err)
		}
		if err := writeFile(filepath.Join(dir, tokensDir, a.name), token, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Texts chosen for what goes wrong with them: twins by case and by accent,
// quotes of all kinds, what filter languages and LIKE find special, scripts
// that do not fit in two bytes.
var (
	firstNames = []string{
		"Anna", "anna", "ANNA", "Änna", "Zoë", "Zoe", "José", "Jose", "Björn", "Bjorn", "Łucja", "Lucja",
		"Ágnes", "Agnes", "Renée", "Renee", "Søren", "Soren", "İpek", "Ipek", "ipek", "Dvořák", "Élodie", "Elodie",
		"Andrea", "Maria", "Thomas", "Peter", "Laura", "David", "Sofia", "Jan", "Emma", "Paul", "Nina", "Omar",
		"Mary Ann", "Jean-Luc", "D'Arcy", "太郎", "花子", "Ольга", "Μαρία", "محمد", "নীলা", "🚀 Rocket", "",
	}
	lastNames = []string{
		"Müller", "Muller", "müller", "MÜLLER", "Mueller", "Straße", "Strasse", "STRASSE", "O'Brien", "O’Brien", "OBrien",
		"Nuñez", "Nunez", "Žižek", "Zizek", "Ångström", "Angstrom", "García", "Garcia", "de la Cruz", "van den Berg",
		"Smith", "smith", "Smythe", "Schmidt", "Rossi", "Novák", "Kowalski", "Dubois", "Silva", "Jensen", "Ivanov",
		"Nguyễn", "Nguyen", "山田", "鈴木", "Παπαδόπουλος", "Иванова", "الأحمد", "Null", "True", "007",
		`Quote "Q" Quark`, "100% Real", "snake_case", `back\slash`, "semi;colon", "a&b=c", "<b>bold</b>", "(paren)",
	}
	titles = []string{"", "", "CEO", "CTO", "Buyer", "buyer", "Head of Data", "Engineer", "Assistant", "VP, Sales & Marketing"}
	notes  = []string{
		"", "", "", "", "met at the fair", "Met at the Fair", "calls back 'tomorrow'", `said "maybe"`, "50% discount_agreed",
		"first line\nsecond line", "tab\there", `C:\temp\new`, "prefers e-mail — not phone", "emoji 👩‍👩‍👧 family", " leading and trailing ",
		"ＦＵＬＬ ｗｉｄｔｈ", "e\u0301 decomposed", "é composed", "null", "{\"json\": true}", "-- comment", "'; DROP TABLE contacts; --",
	}
	companyWords = []string{"Acme", "ACME", "Globex", "Initech", "Umbrella", "Hooli", "Vandelay", "Wayne", "Stark", "Tyrell", "Café", "Cafe", "Nørd", "Öko"}
	companyKinds = []string{"GmbH", "AG", "Ltd.", "Inc.", "S.A.", "& Sons", "Oy", "株式会社"}
	cities       = []string{"Berlin", "Zürich", "São Paulo", "København", "Kraków", "Kyōto", "Reykjavík", "New York"}
)

// day0 is the last moment that any row mentions as past.
var day0 = time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC)

// maker draws from the fixed seed.
type maker struct{ *rand.Rand }

// id is a record id as PocketBase makes them.
func (m maker) id() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b [15]byte
	for i := range b {
		b[i] = alphabet[m.IntN(len(alphabet))]
	}
	return string(b[:])
}

func (m maker) of(list []string) string { return list[m.IntN(len(list))] }

func (m maker) chance(percent int) bool { return m.IntN(100) < percent }

// past is a moment in the given number of days before day0, to the millisecond.
func (m maker) past(days int) types.DateTime {
	t := day0.Add(-time.Duration(m.Int64N(int64(days)*24*3600*1000)) * time.Millisecond)
	return dateTime(t)
}

// midnight is a day in the past: how PocketBase stores a date without a time.
func (m maker) midnight(from, days int) types.DateTime {
	t := day0.Truncate(24*time.Hour).AddDate(0, 0, -from-m.IntN(days))
	return dateTime(t)
}

// cents is an amount with two decimals in [0, limit), where no binary fraction
// creeps in: the nearest double prints as written.
func (m maker) cents(limit int) float64 { return float64(m.IntN(limit*100)) / 100 }

func dateTime(t time.Time) types.DateTime {
	d, err := types.ParseDateTime(t)
	if err != nil {
		panic(err) // a time.Time always parses
	}
	return d
}

// createRows makes companies, contacts and deals, each saved through
// PocketBase's own validation.
func createRows(app core.App, contacts int) error {
	m := maker{rand.New(rand.NewPCG(seedNumber, 1))}
	companies := make([]string, (contacts+24)/25)
	if err := m.createCompanies(app, companies); err != nil {
		return err
	}
	people := make([]person, contacts)
	if err := m.createContacts(app, companies, people); err != nil {
		return err
	}
	return m.createDeals(app, companies, people)
}

func (m maker) createCompanies(app core.App, ids []string) error {
	c, err := app.FindCollectionByNameOrId("companies")
	if err != nil {
		return fmt.Errorf("finding companies: %w", err)
	}
	for i := range ids {
		ids[i] = m.id()
		r := core.NewRecord(c)
		r.Id = ids[i]
		r.Set("name", fmt.Sprintf("%s %s %d", m.of(companyWords), m.of(companyKinds), i+1))
		r.Set("domain", fmt.Sprintf("company%d.example", i+1))
		r.Set("industry", m.of(industries))
		r.Set("employees", m.IntN(5000))
		r.Set("revenue", m.cents(10_000_000))
		r.Set("listed", m.chance(30))
		if m.chance(80) {
			r.Set("founded", m.midnight(365, 365*120))
		}
		if m.chance(70) {
			r.Set("website", fmt.Sprintf("https://www.company%d.example/", i+1))
		}
		if m.chance(75) {
			r.Set("address", map[string]any{"city": m.of(cities), "zip": fmt.Sprintf("%05d", m.IntN(100000)), "floors": m.IntN(40)})
		}
		m.stamp(r)
		if err := app.Save(r); err != nil {
			return fmt.Errorf("creating company %d: %w", i+1, err)
		}
	}
	return nil
}

type person struct{ id, company string }

func (m maker) createContacts(app core.App, companies []string, people []person) error {
	c, err := app.FindCollectionByNameOrId("contacts")
	if err != nil {
		return fmt.Errorf("finding contacts: %w", err)
	}
	for i := range people {
		p := &people[i]
		p.id = m.id()
		r := core.NewRecord(c)
		r.Id = p.id
		r.Set("email", email(i))
		r.Set("first_name", m.of(firstNames))
		r.Set("last_name", m.of(lastNames))
		r.Set("title", m.of(titles))
		if m.chance(60) {
			r.Set("phone", fmt.Sprintf("+%d %03d-%07d", 1+m.IntN(98), m.IntN(1000), m.IntN(10_000_000)))
		}
		r.Set("status", m.of(statuses))
		if m.chance(85) {
			p.company = m.of(companies)
			r.Set("company", p.company)
		}
		r.Set("score", m.IntN(101))
		r.Set("balance", float64(m.IntN(2_000_000)-500_000)/100)
		r.Set("subscribed", m.chance(50))
		if m.chance(70) {
			r.Set("birthday", m.midnight(18*365, 70*365))
		}
		if m.chance(80) {
			r.Set("last_seen", m.past(900))
		}
		r.Set("interests", m.some(interests))
		if m.chance(50) {
			r.Set("profile", map[string]any{
				"city": m.of(cities), "level": m.IntN(10), "vip": m.chance(10), "tags": m.some(interests), "nick": nil,
			})
		}
		r.Set("notes", m.of(notes))
		m.stamp(r)
		if err := app.Save(r); err != nil {
			return fmt.Errorf("creating contact %d: %w", i+1, err)
		}
	}
	return nil
}

// email is unique by i. Every hundredth differs from the one before it by case
// alone: PocketBase's unique index tells them apart.
func email(i int) string {
	if i%100 == 1 {
		return strings.ToUpper(email(i - 1))
	}
	return fmt.Sprintf("person%d@company%d.example", i+1, i%200+1)
}

func (m maker) createDeals(app core.App, companies []string, people []person) error {
	c, err := app.FindCollectionByNameOrId("deals")
	if err != nil {
		return fmt.Errorf("finding deals: %w", err)
	}
	for i := range len(people) / 2 {
		r := core.NewRecord(c)
		r.Id = m.id()
		r.Set("title", fmt.Sprintf("%s %d", m.of([]string{"Renewal", "Upgrade", "Pilot", "Licence", "Förderprojekt"}), i+1))
		p := people[m.IntN(len(people))]
		if p.company == "" {
			p = person{company: m.of(companies)}
		}
		r.Set("company", p.company)
		r.Set("contact", p.id)
		stage := m.of(stages)
		r.Set("stage", stage)
		r.Set("amount", m.cents(250_000))
		r.Set("probability", float64(m.IntN(21))/20)
		if m.chance(90) {
			r.Set("closes", m.midnight(-180, 720))
		}
		r.Set("signed", stage == "won")
		if m.chance(60) {
			items := make([]map[string]any, 1+m.IntN(3))
			for j := range items {
				items[j] = map[string]any{"sku": fmt.Sprintf("SKU-%03d", m.IntN(500)), "quantity": 1 + m.IntN(20), "price": m.cents(900)}
			}
			r.Set("items", items)
		}
		m.stamp(r)
		if err := app.Save(r); err != nil {
			return fmt.Errorf("creating deal %d: %w", i+1, err)
		}
	}
	return nil
}

// some is a random subset in the list's order.
func (m maker) some(list []string) []string {
	out := []string{}
	for _, v := range list {
		if m.chance(30) {
			out = append(out, v)
		}
	}
	return out
}

// stamp sets the times that PocketBase would set to now.
func (m maker) stamp(r *core.Record) {
	created := m.past(1500)
	updated := created
	if m.chance(40) {
		updated = dateTime(created.Time().Add(time.Duration(m.Int64N(day0.Sub(created.Time()).Milliseconds()+1)) * time.Millisecond))
	}
	r.SetRaw("created", created)
	r.SetRaw("updated", updated)
}
