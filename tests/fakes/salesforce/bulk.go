package salesforce

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// job is a bulk job of either kind.
type job struct {
	id, object, operation, state string
	created                      time.Time
	polls                        int
	external                     string
	// of a query; late is what it will fail with
	res  *result
	late string
	// of an ingest
	ingest       bool
	upload       []byte
	good, failed [][]string
	head         []string
	left         [][]string // rows that it has not come to
	read         bool
	processed    int
	message      string
}

// over tells whether results are there.
func (j *job) over() bool {
	return slices.Contains([]string{"JobComplete", "Failed", "Aborted"}, j.state)
}

func (s *Server) newJob(kind string) *job {
	s.jobNr++
	j := &job{id: suffix(fmt.Sprintf("750Hw00%08d", s.jobNr)), operation: kind, created: s.now()}
	s.jobs[j.id] = j
	return j
}

func (j *job) answer(version string) map[string]any {
	api, _ := strconv.ParseFloat(strings.TrimPrefix(version, "v"), 64)
	out := map[string]any{"id": j.id, "operation": j.operation, "object": j.object, "createdById": UserID, "createdDate": moment(j.created),
		"systemModstamp": moment(j.created), "state": j.state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": api,
		"lineEnding": "LF", "columnDelimiter": "COMMA"}
	if j.ingest {
		out["jobType"], out["contentUrl"] = "V2Ingest", "services/data/"+version+"/jobs/ingest/"+j.id+"/batches"
		out["numberRecordsProcessed"], out["numberRecordsFailed"] = j.processed, len(j.failed)
		if j.external != "" {
			out["externalIdFieldName"] = j.external
		}
	} else {
		out["jobType"], out["numberRecordsProcessed"] = "V2Query", len(j.res.records)
	}
	if j.message != "" {
		out["errorMessage"] = j.message
	}
	return out
}

func (s *Server) createQueryJob(w http.ResponseWriter, r *http.Request) *apiError {
	var body struct{ Operation, Query string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	if body.Operation != "query" && body.Operation != "queryAll" {
		return newError(400, "INVALIDJOB", "operation %q is not supported", body.Operation)
	}
	s.statements = append(s.statements, body.Query)
	q, bad := parse(body.Query)
	if bad != nil {
		return newError(400, "API_ERROR", "%s", bad.Message)
	}
	if q.count || q.offset > 0 || len(q.groupBy) > 0 || slices.ContainsFunc(q.items, func(i item) bool { return i.function != "" }) {
		return newError(400, "API_ERROR", "Aggregate functions, GROUP BY and OFFSET are not supported in Bulk Query")
	}
	res, bad := s.run(q, body.Operation == "queryAll")
	if bad != nil && s.opts.BulkLate {
		j := s.newJob(body.Operation)
		j.object, j.res, j.state, j.late = q.from, &result{}, "UploadComplete", bad.Error()
		writeJSON(w, 200, j.answer(r.PathValue("version")))
		return nil
	}
	if bad != nil {
		return newError(400, "API_ERROR", "%s", bad.Message)
	}
	for _, c := range res.columns {
		if c.col.field.Type == "address" {
			return newError(400, "API_ERROR", "Selecting compound data not supported in Bulk Query")
		}
	}
	j := s.newJob(body.Operation)
	j.object, j.res, j.state = res.table.def.Name, res, "UploadComplete"
	writeJSON(w, 200, j.answer(r.PathValue("version")))
	return nil
}

func (s *Server) jobOf(r *http.Request) (*job, *apiError) {
	if j := s.jobs[r.PathValue("job")]; j != nil {
		return j, nil
	}
	return nil, newError(404, "NOT_FOUND", "The requested resource does not exist")
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	if j.state == "UploadComplete" || j.state == "InProgress" {
		j.state = "InProgress"
		j.polls++
		over := j.polls > s.opts.BulkPolls
		switch {
		case j.ingest:
			s.ingest(j, over)
		case over && s.opts.BulkFailure != "":
			j.state, j.message = "Failed", s.opts.BulkFailure
		case over && j.late != "":
			j.state, j.message = "Failed", j.late
		case over:
			j.state = "JobComplete"
		}
	}
	writeJSON(w, 200, j.answer(r.PathValue("version")))
	return nil
}

func (s *Server) patchJob(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	var body struct{ State string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	switch {
	case body.State == "Aborted" && j.state != "JobComplete" && j.state != "Failed":
		j.state = "Aborted"
	case body.State == "UploadComplete" && j.ingest && j.state == "Open":
		j.state = "UploadComplete"
	default:
		return newError(400, "INVALIDJOBSTATE", "Job %s cannot go from %s to %s", j.id, j.state, body.State)
	}
	writeJSON(w, 200, j.answer(r.PathValue("version")))
	return nil
}

func (s *Server) deleteJob(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	if j.state == "InProgress" || j.state == "Open" {
		return newError(400, "INVALIDJOBSTATE", "Job %s is in progress: abort it first", j.id)
	}
	delete(s.jobs, j.id)
	w.WriteHeader(204)
	return nil
}

// queryResults answers a part of a result as CSV. The locator "null" is the end.
func (s *Server) queryResults(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	if j.ingest || j.state != "JobComplete" {
		return newError(400, "INVALIDJOBSTATE", "results of job %s are not there yet: its state is %s", j.id, j.state)
	}
	q := r.URL.Query()
	from, most := 0, 10_000
	if s.opts.BulkPage > 0 {
		most = s.opts.BulkPage
	}
	size := most
	if text := q.Get("locator"); text != "" {
		n, e := strconv.Atoi(strings.TrimPrefix(text, "MTAw"))
		if e != nil || n > len(j.res.records) {
			return newError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
		}
		from = n
	}
	if text := q.Get("maxRecords"); text != "" {
		n, e := strconv.Atoi(text)
		if e != nil || n < 1 {
			return newError(400, "INVALID_ARGUMENT", "maxRecords must be a positive number")
		}
		size = min(n, most)
	}
	to := min(from+size, len(j.res.records))
	var b bytes.Buffer
	head := make([]string, len(j.res.columns))
	for i, c := range j.res.columns {
		for _, hop := range c.col.hops {
			head[i] += hop.Relationship + "."
		}
		head[i] += c.col.field.Name
	}
	line(&b, head)
	for _, rec := range j.res.records[from:to] {
		cells := make([]string, len(j.res.columns))
		for i, c := range j.res.columns {
			cells[i] = cell(c.col.get(rec), c.col.field)
		}
		line(&b, cells)
	}
	next := "null"
	if to < len(j.res.records) {
		next = "MTAw" + strconv.Itoa(to)
	}
	w.Header().Set("Sforce-Locator", next)
	w.Header().Set("Sforce-NumberOfRecords", strconv.Itoa(to-from))
	w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
	_, _ = w.Write(b.Bytes())
	return nil
}

// line writes cells as the API does: each in quotes, so that null is "".
func line(b *bytes.Buffer, cells []string) {
	for i, c := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.ReplaceAll(c, `"`, `""`) + `"`)
	}
	b.WriteByte('\n')
}

func cell(v any, f *Field) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return number(v, f)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	case TimeOfDay:
		return string(v) + "Z"
	}
	return fmt.Sprint(v)
}

func (s *Server) createIngestJob(w http.ResponseWriter, r *http.Request) *apiError {
	var body struct{ Object, Operation, ExternalIDFieldName string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return newError(400, "JSON_PARSER_ERROR", "Unexpected character: %s", err)
	}
	t := s.table(body.Object)
	switch {
	case t == nil:
		return newError(400, "INVALIDENTITY", "Unable to find object: %s", body.Object)
	case !slices.Contains([]string{"insert", "update", "upsert", "delete", "hardDelete"}, body.Operation):
		return newError(400, "INVALIDJOB", "operation %q is not supported", body.Operation)
	case body.Operation == "upsert" && (t.def.field(body.ExternalIDFieldName) == nil || !t.def.field(body.ExternalIDFieldName).ExternalID):
		return newError(400, "INVALIDJOB", "Field name provided, %s does not match an External ID, Salesforce Id, or indexed field for %s", body.ExternalIDFieldName, t.def.Name)
	}
	j := s.newJob(body.Operation)
	j.object, j.external, j.ingest, j.state = t.def.Name, body.ExternalIDFieldName, true, "Open"
	writeJSON(w, 200, j.answer(r.PathValue("version")))
	return nil
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	if !j.ingest || j.state != "Open" || j.upload != nil {
		return newError(400, "INVALIDJOBSTATE", "job %s takes one upload while it is open", j.id)
	}
	body, e := io.ReadAll(r.Body)
	if e != nil || len(body) > 150<<20 {
		return newError(413, "EXCEEDED_MAX_SIZE", "an upload has at most 150 MB")
	}
	j.upload = body
	w.WriteHeader(201)
	return nil
}

// ingest goes on with an uploaded job: each row for itself, #N/A for null, and an
// empty cell leaves a field alone. over: it has been asked for often enough.
func (s *Server) ingest(j *job, over bool) {
	t := s.table(j.object)
	if !j.parse(t) {
		return
	}
	n := len(j.left)
	if s.opts.IngestStep > 0 || !over {
		n = min(n, s.opts.IngestStep)
	}
	for _, cells := range j.left[:n] {
		in := input{}
		for i, c := range cells {
			switch c {
			case "":
			case "#N/A":
				in[j.head[i]] = nil
			default:
				in[j.head[i]] = c
			}
		}
		j.processed++
		id, created, bad := s.ingestRow(t, j, in)
		if bad != nil {
			j.failed = append(j.failed, append([]string{id, fmt.Sprintf("%s:%s:%s --", bad.Code, bad.Message, strings.Join(bad.Fields, ","))}, cells...))
			continue
		}
		j.good = append(j.good, append([]string{id, strconv.FormatBool(created)}, cells...))
	}
	j.left = j.left[n:]
	switch {
	case over && len(j.left) == 0:
		j.state = "JobComplete"
	case over && s.opts.IngestFailure != "":
		j.state, j.message = "Failed", s.opts.IngestFailure
	}
}

// parse takes the upload apart, when the job is first worked on.
func (j *job) parse(t *table) bool {
	if j.read {
		return true
	}
	j.read = true
	// The library makes one character of CR LF, also in a value.
	const mark = "\xff"
	upload := j.upload
	if end := bytes.IndexByte(upload, '\n'); end < 1 || upload[end-1] != '\r' {
		upload = bytes.ReplaceAll(upload, []byte("\r"), []byte(mark))
	}
	lines, err := csv.NewReader(bytes.NewReader(upload)).ReadAll()
	for _, cells := range lines {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], mark, "\r")
		}
	}
	if err != nil || len(lines) == 0 {
		j.state, j.message = "Failed", "InvalidBatch : Failed to parse CSV"
		return false
	}
	j.head, j.left = lines[0], lines[1:]
	for _, name := range j.head {
		if t.def.field(name) == nil {
			j.state, j.message = "Failed", "InvalidBatch : Field name not found : "+name
			return false
		}
	}
	return true
}

func (s *Server) ingestRow(t *table, j *job, in input) (id string, created bool, bad *apiError) {
	var rows []Record
	f := t.def.field(j.external)
	switch j.operation {
	case "insert":
		row, err, parse := s.write(t, nil, in)
		if err == nil {
			err = parse
		}
		if err != nil {
			return "", false, err
		}
		return row["Id"].(string), true, nil
	case "upsert":
		key, _ := lookup(in, j.external)
		text, _ := key.(string)
		var err *apiError
		if _, rows, err = s.byKey(t, j.external, text); err != nil {
			return "", false, err
		}
		if len(rows) > 1 {
			return "", false, newError(400, "DUPLICATE_EXTERNAL_ID", "more than one record found for external id field")
		}
		row, created, err := s.upsert(t, f, text, rows, in)
		if err != nil {
			return "", false, err
		}
		return row["Id"].(string), created, nil
	}
	given, _ := lookup(in, "Id")
	id, _ = given.(string)
	old, err := findRow(t, id)
	if err != nil {
		return id, false, err
	}
	if j.operation == "update" {
		_, err, parse := s.write(t, old, in)
		if err == nil {
			err = parse
		}
		return id, false, err
	}
	s.remove(t, old)
	return id, false, nil
}

// ingestResults answers with rows in an order of its own, and so their columns.
func (s *Server) ingestResults(w http.ResponseWriter, r *http.Request) *apiError {
	j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	if !j.over() {
		return newError(400, "INVALIDJOBSTATE", "results of job %s are not there yet: its state is %s", j.id, j.state)
	}
	if !j.read && j.upload != nil {
		j.parse(s.table(j.object))
		j.state = "Aborted" // before it was worked on
	}
	var b bytes.Buffer
	rows, own := j.good, []string{"sf__Id", "sf__Created"}
	switch r.PathValue("results") {
	case "successfulResults":
	case "failedResults":
		rows, own = j.failed, []string{"sf__Id", "sf__Error"}
	case "unprocessedrecords":
		rows, own = j.left, nil
	default:
		return newError(404, "NOT_FOUND", "The requested resource does not exist")
	}
	turned := func(cells []string) []string {
		cells = slices.Clone(cells)
		slices.Reverse(cells[len(own):])
		return cells
	}
	line(&b, turned(append(slices.Clone(own), j.head...)))
	for _, cells := range slices.Backward(rows) {
		line(&b, turned(cells))
	}
	w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
	_, _ = w.Write(b.Bytes())
	return nil
}
