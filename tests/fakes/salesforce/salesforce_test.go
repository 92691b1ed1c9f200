package salesforce

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask sends a request with a session and decodes the answer.
func ask(t *testing.T, s *Server, session, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/services/data/v62.0"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+session)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

type page struct {
	TotalSize      int
	Done           bool
	NextRecordsURL string
	Records        []map[string]any
}

func names(t *testing.T, s *Server, session, where string) []string {
	t.Helper()
	status, text := ask(t, s, session, "GET", "/query?q="+url.QueryEscape("SELECT Name FROM Everything__c WHERE "+where), "")
	require.Equal(t, 200, status, text)
	var p page
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	out := []string{}
	for _, r := range p.Records {
		out = append(out, r["Name"].(string))
	}
	return out
}

func TestConditions(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	defer s.Close()
	_, err := s.Insert("Everything__c",
		map[string]any{"Name": "a", "Text__c": "O'Hara", "Number__c": 1.5, "Check__c": true, "Day__c": "2024-02-29", "Moment__c": "2024-02-29T23:59:59.900Z", "Multi__c": "Two;One", "Exact__c": "x", "Pick__c": "red"},
		map[string]any{"Name": "b", "Text__c": `50%_\ "q"`, "Number__c": -2, "Day__c": "2024-03-01", "Moment__c": "2024-03-01T00:00:00+02:00", "Multi__c": "Three", "Exact__c": "X"},
		map[string]any{"Name": "c", "Text__c": "line\nbreak", "Time__c": "13:14:15.5Z"},
		map[string]any{"Name": "d"})
	require.NoError(t, err)
	session := s.Session()
	for where, want := range map[string]string{
		`Text__c = 'o\'HARA'`:                             "a",
		`Text__c != 'o\'hara'`:                            "b c d",
		`Text__c = null`:                                  "d",
		`Text__c = ''`:                                    "d",
		`Text__c LIKE '%\%%'`:                             "b",
		`Text__c LIKE '50\%\_\\ \"Q\"'`:                   "b",
		`Text__c LIKE '50_%'`:                             "b",
		`Text__c LIKE 'line\nbreak'`:                      "c",
		`(NOT Text__c LIKE '%a')`:                         "b c d",
		`Text__c IN ('O\'Hara', null)`:                    "a d",
		`Text__c NOT IN ('O\'Hara')`:                      "b c d",
		`Number__c > -2`:                                  "a",
		`Number__c <= 1.5 AND (Name = 'a' OR Name = 'B')`: "a b",
		`Check__c = false`:                                "b c d",
		`Check__c != null`:                                "a",
		`Day__c < 2024-03-01`:                             "a",
		`Moment__c = 2024-02-29T23:59:59Z`:                "a",
		`Moment__c < 2024-02-29T22:00:01+00:00`:           "b",
		`Time__c = 13:14:15.500Z`:                         "c",
		`Multi__c INCLUDES ('one;two', 'nix')`:            "a",
		`Multi__c EXCLUDES ('three')`:                     "a c d",
		`Multi__c = 'One;Two'`:                            "a",
		`Exact__c = 'x'`:                                  "a",
		`Pick__c = 'RED'`:                                 "a",
		`Doubled__c = 3`:                                  "a",
		`Owner.Name LIKE 'ada%' AND Ref__r.Name = null`:   "a b c d",
		`Name > 'B'`:                                      "c d",
		`CreatedDate > YESTERDAY AND Id IN (SELECT Id FROM Everything__c WHERE Name = 'c')`: "c",
	} {
		require.Equal(t, strings.Fields(want), names(t, s, session, where), where)
	}
}

// TestPages are as large as the org likes, and none is repeated or left out.
func TestPages(t *testing.T) {
	t.Parallel()
	s := New(Options{PageSize: 100, ShortPages: 3, ForgetEvery: 9, SessionCalls: 30, RefuseEvery: 7, DailyLimit: 28})
	defer s.Close()
	rows := make([]map[string]any, 950)
	for i := range rows {
		rows[i] = map[string]any{"LastName": "x"}
	}
	_, err := s.Insert("Contact", rows...)
	require.NoError(t, err)
	session := s.Session()
	seen, refused, lost := map[string]int{}, 0, 0
	next, sizes := "/query?q=SELECT+Id+FROM+Contact", map[int]bool{}
	for next != "" {
		status, text := ask(t, s, session, "GET", next, "")
		if status == 403 {
			require.Contains(t, text, "REQUEST_LIMIT_EXCEEDED")
			refused++
			continue
		}
		if status == 400 {
			require.Contains(t, text, "INVALID_QUERY_LOCATOR")
			lost++
			break
		}
		var p page
		require.NoError(t, json.Unmarshal([]byte(text), &p))
		for _, r := range p.Records {
			seen[r["Id"].(string)]++
		}
		sizes[len(p.Records)] = true
		require.Equal(t, p.NextRecordsURL == "", p.Done)
		next = strings.TrimPrefix(p.NextRecordsURL, "/services/data/v62.0")
	}
	require.Equal(t, map[int]bool{100: true, 50: true}, sizes)
	require.Equal(t, 1, lost)
	require.Positive(t, refused)
	require.Len(t, seen, 750, "nine pages, three of them short")
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	for range 20 {
		_, _ = ask(t, s, session, "GET", "/limits", "")
	}
	status, text := ask(t, s, session, "GET", "/limits", "")
	require.Equal(t, 401, status)
	require.Contains(t, text, "INVALID_SESSION_ID")
	session = s.Session()
	for status != 403 || strings.Contains(text, "Concurrent") {
		status, text = ask(t, s, session, "GET", "/limits", "")
		require.Contains(t, []int{200, 403}, status)
	}
	require.Contains(t, text, "TotalRequests Limit exceeded")
}

func TestAggregateHasNoSecondPage(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	defer s.Close()
	rows := make([]map[string]any, 2001)
	for i := range rows {
		rows[i] = map[string]any{"Name": "n", "NumberOfEmployees": i}
	}
	_, err := s.Insert("Account", rows...)
	require.NoError(t, err)
	session := s.Session()
	soql := "SELECT NumberOfEmployees, COUNT(Id) FROM Account GROUP BY NumberOfEmployees"
	status, text := ask(t, s, session, "GET", "/query?q="+url.QueryEscape(soql), "")
	require.Equal(t, 400, status)
	require.Contains(t, text, "does not support queryMore")
	status, _ = ask(t, s, session, "GET", "/query?q="+url.QueryEscape(soql+" LIMIT 2000"), "")
	require.Equal(t, 200, status)
}

func TestWide(t *testing.T) {
	t.Parallel()
	s := New(Options{Objects: Wide(500, 300)})
	defer s.Close()
	session := s.Session()
	_, text := ask(t, s, session, "GET", "/sobjects", "")
	require.Equal(t, 506, strings.Count(text, `"keyPrefix"`))
	_, text = ask(t, s, session, "GET", "/sobjects/Wide_0500__c/describe", "")
	require.Contains(t, text, `"Field_300__c"`)
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{0: "0.0", 12: "12.0", -1.25: "-1.25", 1e7: "1.0E7", 12345678.9: "1.23456789E7", 0.0001: "1.0E-4", 9999999.99: "9999999.99"} {
		require.Equal(t, want, number(value, nil))
	}
	require.Equal(t, "12345678", number(12345678, &Field{Type: "int"}))
}
