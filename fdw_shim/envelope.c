/*-------------------------------------------------------------------------
 *
 * envelope.c
 *		A message of the Scan stream -> header, batch or footer.
 *
 * A batch is taken out of its message by hand, as protobuf-c would copy it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rows.h"

/* A protobuf varint; false if it does not end in time. */
static bool
get_varint(const uint8 **pos, const uint8 *end, uint64 *value)
{
	*value = 0;
	for (int shift = 0; shift < 64 && *pos < end; shift += 7)
	{
		uint8		byte = *(*pos)++;

		*value |= (uint64) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

/*
 * RowBatch without a copy of its tuples. False for anything but a plain one,
 * which protobuf-c may then make sense of.
 */
static bool
plain_batch(const uint8 *pos, const uint8 *end, HallwayScanMessage *out)
{
	uint64		len;
	uint64		rows = 0;

	if (pos == end || *pos++ != ((2 << 3) | 2) ||
		!get_varint(&pos, end, &len) || len != (uint64) (end - pos))
		return false;
	if (pos == end || *pos++ != ((1 << 3) | 2) ||
		!get_varint(&pos, end, &len) || len > (uint64) (end - pos))
		return false;
	out->tuples = pos;
	out->len = len;
	pos += len;
	if (pos == end || *pos++ != ((2 << 3) | 0) ||
		!get_varint(&pos, end, &rows) || rows > PG_UINT32_MAX || pos != end)
		return false;
	out->rows = rows;
	return true;
}

void
hallway_scan_message(const uint8 *data, size_t len, HallwayScanMessage *out)
{
	Hallway__V1__ScanResponse *response;

	memset(out, 0, sizeof(*out));
	if (plain_batch(data, data + len, out))
		return;
	memset(out, 0, sizeof(*out));
	response = (Hallway__V1__ScanResponse *)
		hallway_unpack(&hallway__v1__scan_response__descriptor, data, len);
	if (response != NULL)
		switch (response->message_case)
		{
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_HEADER:
				out->header = response->header;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_FOOTER:
				out->footer = response->footer;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_PROGRESS:
				out->progress = response->progress;
				return;
			case HALLWAY__V1__SCAN_RESPONSE__MESSAGE_BATCH:
				out->tuples = response->batch->tuples.data;
				out->len = response->batch->tuples.len;
				out->rows = response->batch->rows;
				if (out->tuples == NULL)
					out->tuples = (const uint8 *) "";
				return;
			default:
				break;
		}
	hallway_malformed_rows("A message of the scan is neither header, rows nor footer.");
}
