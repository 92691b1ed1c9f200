// HubSpot's pages: what the sidecar spends on them beside encoding/json.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// hubspotRows are in the account; a measurement reads them until it has had
// bench.restRows.
const hubspotRows = 20_000

// recorded gives answers of the stand-in again as they were the first time, so that
// it is the sidecar that a scan waits for.
type recorded struct {
	api *hubspot.Server

	mu      sync.Mutex
	answers map[string]*httptest.ResponseRecorder
	pages   [][]byte // of lists, in the order in which they came
}

func (r *recorded) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	a := r.answers[req.URL.RequestURI()]
	r.mu.Unlock()
	if a == nil || req.Method != http.MethodGet {
		a = httptest.NewRecorder()
		r.api.ServeHTTP(a, req)
		r.mu.Lock()
		if r.answers[req.URL.RequestURI()] = a; req.URL.Path == "/crm/v3/objects/contacts" {
			r.pages = append(r.pages, a.Body.Bytes())
		}
		r.mu.Unlock()
	}
	for name, values := range a.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(a.Body.Len()))
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes())
}

// prepareHubSpot seeds contacts as they are in the CRMs of companies, and reads
// them once.
func (s *session) prepareHubSpot(ctx context.Context) error {
	api := hubspot.New(hubspot.Options{})
	s.env.Defer(api.Close)
	api.Seed("contacts", hubspotRows, func(i int) map[string]string {
		p := map[string]string{
			"email": fmt.Sprintf("firstname%d.lastname@example.com", i), "firstname": fmt.Sprintf("First%d", i%977), "lastname": fmt.Sprintf("Last-%d O'Neil", i%1009),
			"phone": fmt.Sprintf("+49 30 %07d", i), "company": fmt.Sprintf("Company %d GmbH & Co", i%5000), "jobtitle": []string{"Head of Sales", "CEO", "Assistant to the \"board\""}[i%3],
			"city": "Berlin", "country": "Germany", "lifecyclestage": []string{"lead", "customer", "subscriber"}[i%3], "hs_lead_status": []string{"NEW", "OPEN"}[i%2],
			"annualrevenue": strconv.Itoa(i * 100), "hs_email_optout": strconv.FormatBool(i%7 == 0), "num_associated_deals": strconv.Itoa(i % 4),
			"createdate": fmt.Sprintf("2024-01-%02dT03:04:05.%03dZ", i%28+1, i%1000), "lastmodifieddate": fmt.Sprintf("2025-02-%02dT03:04:05.%03dZ", i%28+1, i%1000),
		}
		if i%3 == 0 {
			delete(p, "annualrevenue")
			delete(p, "phone")
		}
		return p
	})
	s.recorded = &recorded{api: api, answers: map[string]*httptest.ResponseRecorder{}}
	server := httptest.NewServer(s.recorded)
	s.env.Defer(server.Close)
	_, err := s.exec(ctx, fmt.Sprintf(`CREATE SERVER hubspot FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot', base_url '%s', cache 'off', journal 'false', calls_per_second '1000000');
CREATE USER MAPPING FOR PUBLIC SERVER hubspot OPTIONS (token '%s');
CREATE SCHEMA hubspot; IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts) FROM SERVER hubspot INTO hubspot`, server.URL, hubspot.Token))
	if err != nil {
		return err
	}
	r, err := s.exec(ctx, "SELECT string_agg(format('count(%I)', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'hubspot.contacts'::regclass AND attnum > 0")
	if err != nil {
		return err
	}
	s.hubspotScan = fmt.Sprintf("SELECT count(*), %s FROM (SELECT * FROM hubspot.contacts OFFSET 0) s", r.Rows[0][0])
	_, err = s.exec(ctx, s.hubspotScan)
	return err
}

// hubspotRead reads all contacts, and decodes the same pages as a straightforward
// program does.
func (s *session) hubspotRead(ctx context.Context, keep func(string, float64)) error {
	times := max(1, s.restRows/hubspotRows)
	before, err := harness.CPU(s.env.Sidecar.PID())
	if err != nil {
		return err
	}
	for range times {
		r, err := s.exec(ctx, s.hubspotScan)
		if err != nil {
			return err
		}
		if got := r.Rows[0].String(); !strings.HasPrefix(got, fmt.Sprintf("(%d | ", hubspotRows)) {
			return fmt.Errorf("a scan of %d contacts counts %s", hubspotRows, got)
		}
	}
	after, err := harness.CPU(s.env.Sidecar.PID())
	if err != nil {
		return err
	}
	keep("hubspot_rate", float64(times*hubspotRows)/(after-before).Seconds())

	if before, err = selfCPU(); err != nil {
		return err
	}
	rows := 0
	for range times {
		for _, body := range s.recorded.pages {
			var page struct {
				Results []map[string]any
				Paging  map[string]any
			}
			if err := json.Unmarshal(body, &page); err != nil {
				return fmt.Errorf("decoding a page: %w", err)
			}
			rows += len(page.Results)
		}
	}
	if after, err = selfCPU(); err != nil {
		return err
	}
	if rows != times*hubspotRows {
		return fmt.Errorf("the pages have %d records", rows)
	}
	keep("hubspot_json_rate", float64(rows)/(after-before).Seconds())
	return nil
}
