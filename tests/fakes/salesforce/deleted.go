package salesforce

import (
	"net/http"
	"time"
)

// replicationWindow is how far back the API tells what was deleted, and
// replicationLag how far behind it is.
const (
	replicationWindow = 15 * 24 * time.Hour
	replicationLag    = time.Minute
)

// window checks start and end.
func (s *Server) window(r *http.Request) (start, end time.Time, err *apiError) {
	q := r.URL.Query()
	start, ok := parseMoment(q.Get("start"))
	end, ok2 := parseMoment(q.Get("end"))
	switch {
	case !ok:
		return start, end, newError(400, "INVALID_REPLICATION_DATE", "invalid start date: %q", q.Get("start"))
	case !ok2:
		return start, end, newError(400, "INVALID_REPLICATION_DATE", "invalid end date: %q", q.Get("end"))
	case start.Before(s.now().Add(-replicationWindow)):
		return start, end, newError(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
	case end.Before(start.Add(time.Minute)):
		return start, end, newError(400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute greater than startDate")
	}
	return start.Truncate(time.Minute), end.Truncate(time.Minute), nil
}

func moment(m time.Time) string { return m.UTC().Format("2006-01-02T15:04:05.000+0000") }

// covered is up to when the answer is sure to be whole.
func (s *Server) covered(end time.Time) time.Time {
	if sure := s.now().Add(-replicationLag).Truncate(time.Minute); sure.Before(end) {
		return sure
	}
	return end
}

func (s *Server) deleted(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	start, end, err := s.window(r)
	if err != nil {
		return err
	}
	end = s.covered(end)
	type entry struct {
		ID   string `json:"id"`
		Date string `json:"deletedDate"`
	}
	list := []entry{}
	for _, row := range t.rows {
		when := row["SystemModstamp"].(time.Time)
		if row["IsDeleted"] == true && !when.Before(start) && when.Before(end) {
			list = append(list, entry{row["Id"].(string), moment(when)})
		}
	}
	writeJSON(w, 200, map[string]any{"deletedRecords": list, "latestDateCovered": moment(end),
		"earliestDateAvailable": moment(s.now().Add(-replicationWindow))})
	return nil
}

func (s *Server) updated(w http.ResponseWriter, r *http.Request) *apiError {
	t, err := s.object(r)
	if err != nil {
		return err
	}
	start, end, err := s.window(r)
	if err != nil {
		return err
	}
	end = s.covered(end)
	list := []string{}
	for _, row := range t.rows {
		when := row["SystemModstamp"].(time.Time)
		if row["IsDeleted"] != true && !when.Before(start) && when.Before(end) {
			list = append(list, row["Id"].(string))
		}
	}
	writeJSON(w, 200, map[string]any{"ids": list, "latestDateCovered": moment(end)})
	return nil
}
