/*
 * A packed segment holds the items of a sealed one, in their order and each with the checksum that it
 * was appended with, in frames of frame_bytes_max(). What differs is what frames add: fewer headers,
 * less padding, no marks, and times in nanoseconds, since many frames' times are now counted from one.
 *
 * Nothing is believed on the way. Each frame of the source has to follow the one before it, and all of
 * them end where the successor says; and of the new file, read back from the disk, the items have the
 * same digest, which takes in everything that a reader or recovery gets to see.
 */
#include "wal/pack_file.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "wal/base.h"
#include "wal/compress.h"
#include "wal/crc32c.h"
#include "wal/defects.h"

/* A frame is read whole for one record of it, and what fills it up is at most one item. */
#define PACKED_FRAME_BYTES (32u << 10)
/* The same before it is compressed. What is left of it is rounded up to blocks: of lines of JSON, 5 times
 * smaller by zstd, 4.0 times were left with 32 and 64 KiB, 4.6 with 128 and 4.9 with 256, and a read of
 * one record unpacked its frame in 22, 39, 77 and 162 µs. */
#define COMPRESSED_FRAME_BYTES (128u << 10)
/* So much of a segment tells what compression will make of the rest. */
#define SAMPLE_BYTES (2 * COMPRESSED_FRAME_BYTES)
#define WINDOW_BYTES (256u << 10)
#define SALT_BYTES 8

/* ---- reading frames in order ---- */

struct reader {
    const struct pack_file *file;
    int handle;
    uint64_t salt;
    uint64_t end; /* of the last frame */
    uint8_t *window;
    size_t capacity;
    uint64_t window_begin, window_end;

    /* Where the next frame has to be, and what it has to say. */
    uint64_t position, frame_no, offset, bytes;
    uint32_t crc;

    uint32_t digest; /* of all items before it */
    struct unpacked unpacked;
};

static void reader_done(struct reader *reader)
{
    if (reader->handle >= 0)
        reader->file->io->ops->close(reader->file->io, reader->handle);
    buffer_put(reader->file->pool, reader->window, reader->capacity);
    unpacked_done(&reader->unpacked);
}

static int reader_open(struct reader *reader, const struct pack_file *file, const char *name,
                       const struct segment_header *header, uint64_t end)
{
    struct wal_io *io = file->io;
    *reader = (struct reader){
        .file = file,
        .salt = header->salt,
        .end = end,
        .position = WAL_BLOCK_BYTES,
        .frame_no = header->base_frame,
        .offset = header->base_offset,
        .bytes = header->base_bytes,
        .crc = header->prev_crc,
    };
    /* From the disk: neither are stale pages of the cache to be packed nor others driven out of it. */
    reader->handle =
        io->ops->open_file(io, file->dir, name, io->direct ? WAL_OPEN_DIRECT : WAL_OPEN_UNCACHED);
    return reader->handle < 0 ? reader->handle : 0;
}

/* Makes [position, position + bytes) addressable. Errors: -EBADMSG: the file ends before that. */
static int reader_get(struct reader *reader, uint64_t position, uint64_t bytes, uint8_t **ret_data)
{
    const struct pack_file *file = reader->file;
    if (position < reader->window_begin || position + bytes > reader->window_end) {
        uint64_t wanted = max_u64(bytes, min_u64(WINDOW_BYTES, reader->end - position));
        if (wanted > reader->capacity) {
            buffer_put(file->pool, reader->window, reader->capacity);
            reader->capacity = 0;
            reader->window = buffer_get(file->pool, wanted, &reader->capacity);
            if (!reader->window)
                return -ENOMEM;
        }
        reader->window_begin = reader->window_end = 0;
        int64_t got =
            file->io->ops->read(file->io, reader->handle, reader->window, wanted, position);
        int rc = got < 0 ? (int)got : file->pace(file->context, (uint64_t)got);
        if (rc != 0)
            return rc;
        /* What the file lacks of its last block is zeros that a short write left out. */
        if ((uint64_t)got < wanted && round_up((uint64_t)got, WAL_BLOCK_BYTES) < bytes)
            return -EBADMSG;
        memset(reader->window + got, 0, wanted - (uint64_t)got);
        reader->window_begin = position;
        reader->window_end = position + wanted;
    }
    *ret_data = reader->window + (position - reader->window_begin);
    return 0;
}

static void digest_item(struct reader *reader, const struct item *item)
{
    const uint64_t words[] = {
        htole64(item->timestamp_ns),
        htole64(item->kind | (uint64_t)item->attribute_bytes << 8 |
                (uint64_t)item->data_bytes << 32),
        htole64(item->crc),
    };
    reader->digest = crc32c(reader->digest, words, sizeof(words));
}

/* The items of a frame that was verified. */
static void note_items(struct reader *reader, const struct frame_header *header,
                       const uint8_t *items)
{
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    while (item_next(&walk, &item) == 0) {
        reader->bytes += item.kind == ITEM_RECORD ? item.data_bytes : 0;
        if (item.kind != ITEM_TIME)
            digest_item(reader, &item);
    }
}

static bool follows(const struct reader *reader, const struct frame_header *header)
{
    bool is_first = reader->position == WAL_BLOCK_BYTES;
    return header->frame_no == reader->frame_no && header->prev_crc == reader->crc &&
           header->base_offset == reader->offset && header->base_bytes == reader->bytes &&
           !!(header->flags & FRAME_STATE) == is_first;
}

/* The next frame. Errors: -ENODATA: behind the last one; -EBADMSG: none that is whole. */
static int reader_next(struct reader *reader, struct frame_header *ret_header,
                       const uint8_t **ret_items)
{
    uint8_t *data;
    if (reader->position == reader->end)
        return -ENODATA;
    if (reader->position + WAL_BLOCK_BYTES > reader->end)
        return -EBADMSG;
    int rc = reader_get(reader, reader->position, WAL_BLOCK_BYTES, &data);
    if (rc != 0)
        return rc;
    rc = frame_header_decode(ret_header, reader->salt, reader->position, data);
    if (rc < 0)
        return rc == -EPROTONOSUPPORT ? rc : -EBADMSG;
    uint64_t bytes = frame_bytes(ret_header->body_bytes);
    if (!follows(reader, ret_header) || reader->position + bytes > reader->end)
        return -EBADMSG;
    rc = reader_get(reader, reader->position, bytes, &data);
    if (rc != 0)
        return rc;
    rc = frame_open(&reader->unpacked, ret_header, data + FRAME_HEADER_BYTES,
                    !DEFECT(PACK_TRUST_DAMAGE), ret_items);
    if (rc < 0)
        return rc;
    /* No record is hurt, but a copy that repair keeps of it names its place in this very file. */
    if (!frame_padding_is_fine(data, ret_header->body_bytes))
        return -EBADMSG;
    note_items(reader, ret_header, *ret_items);
    reader->position += bytes;
    reader->frame_no++;
    reader->offset += ret_header->record_count;
    reader->crc = ret_header->crc;
    return 0;
}

/* ---- writing frames ---- */

struct writer {
    struct pack_file *file;
    int handle;
    uint8_t *frame;
    size_t capacity;
    struct frame_header header; /* of the frame being filled; body_bytes 0: none is */
    uint64_t time_ns;           /* that the next item's time counts from */
    uint64_t newest_ns; /* of all items: no later frame may seem older than a record before it */
    uint64_t position, frame_no, offset, bytes;
    uint32_t crc;
    struct compressor compressor;
    bool has_compressed; /* frames */
};

static void writer_done(struct writer *writer)
{
    if (writer->handle >= 0)
        writer->file->io->ops->close(writer->file->io, writer->handle);
    buffer_put(writer->file->pool, writer->frame, writer->capacity);
    compressor_done(&writer->compressor);
}

static uint32_t frame_bytes_max(const struct pack_file *file)
{
    return file->compress ? COMPRESSED_FRAME_BYTES : PACKED_FRAME_BYTES;
}

static int writer_write(struct writer *writer, const void *data, uint64_t bytes, uint64_t position)
{
    struct pack_file *file = writer->file;
    int rc = file->io->ops->write(file->io, writer->handle, data, bytes, position, false);
    return rc == 0 ? file->pace(file->context, bytes) : rc;
}

/* Lays the frame out as it goes to the disk, and puts it there. */
static int write_out(struct writer *writer, uint8_t *frame)
{
    struct frame_header *header = &writer->header;
    const uint64_t bytes = frame_bytes(header->body_bytes);
    if (writer->position + bytes > writer->file->seal.original_end)
        return -EFBIG; /* records of which two do not fit a frame, where many shared one */
    header->frame_no = header->durable_frame = writer->frame_no++;
    header->position = writer->position;
    header->prev_crc = writer->crc;
    frame_finish(header, frame);
    frame_header_encode(header, writer->file->header.salt, frame);
    writer->crc = header->crc;
    writer->position += bytes;
    frame_index_add(&writer->file->index, header->base_offset, header->timestamp_ns,
                    header->position);
    int rc = writer_write(writer, frame, bytes, header->position);
    *header = (struct frame_header){0};
    return rc;
}

/* Errors: -EMSGSIZE: no block is saved by that, and nothing was written; others as from writing. */
static int write_compressed(struct writer *writer)
{
    struct frame_header *header = &writer->header;
    struct buffer_pool *pool = writer->file->pool;
    const uint64_t room = frame_bytes(header->body_bytes) - WAL_BLOCK_BYTES;
    if (room == 0)
        return -EMSGSIZE;
    size_t capacity;
    uint8_t *frame = buffer_get(pool, room, &capacity);
    if (!frame)
        return -ENOMEM;
    int rc = frame_compress(&writer->compressor, header, writer->frame + FRAME_HEADER_BYTES,
                            frame + FRAME_HEADER_BYTES, room - FRAME_HEADER_BYTES - 1);
    if (rc == 0) {
        writer->has_compressed = true;
        rc = write_out(writer, frame);
    }
    buffer_put(pool, frame, capacity);
    return rc;
}

static int write_frame(struct writer *writer)
{
    const struct frame_header *header = &writer->header;
    const bool is_state = header->flags & FRAME_STATE;
    if (header->body_bytes == 0 && !is_state)
        return 0;
    int rc = writer->file->compress && !is_state ? write_compressed(writer) : -EMSGSIZE;
    return rc == -EMSGSIZE ? write_out(writer, writer->frame) : rc;
}

static int make_room(struct writer *writer, uint64_t bytes)
{
    const uint32_t used = writer->header.body_bytes;
    const uint64_t needed = FRAME_HEADER_BYTES + used + bytes + 1; /* the end mark */
    if (needed <= writer->capacity)
        return 0;
    if (used + bytes > FRAME_BODY_BYTES_MAX)
        return -EMSGSIZE;
    struct buffer_pool *pool = writer->file->pool;
    size_t capacity;
    uint8_t *larger = buffer_get(pool, max_u64(needed, frame_bytes_max(writer->file)), &capacity);
    if (!larger)
        return -ENOMEM;
    if (used > 0)
        memcpy(larger, writer->frame, FRAME_HEADER_BYTES + used);
    buffer_put(pool, writer->frame, writer->capacity);
    writer->frame = larger;
    writer->capacity = capacity;
    return 0;
}

static void put_item(struct writer *writer, const struct item *item)
{
    struct frame_header *header = &writer->header;
    uint8_t *end = writer->frame + FRAME_HEADER_BYTES + header->body_bytes;
    header->items_crc = item_encode(item, header->items_crc, end);
    header->body_bytes += (uint32_t)item_bytes(item->attribute_bytes, item->data_bytes);
    header->item_count++;
    header->record_count += item->kind == ITEM_RECORD;
}

static void put_time(struct writer *writer, uint64_t time_ns)
{
    const uint64_t time_le = htole64(time_ns);
    struct item item = {.kind = ITEM_TIME, .data = &time_le, .data_bytes = sizeof(time_le)};
    item.crc = item_crc(NULL, 0, &time_le, sizeof(time_le));
    put_item(writer, &item);
    writer->time_ns = time_ns;
}

/* Adds an item; a frame that would get too long is written first. */
static int add_item(struct writer *writer, struct item item, uint64_t frame_ns)
{
    struct frame_header *header = &writer->header;
    if (DEFECT(PACK_DROP_STATE) && item.kind != ITEM_RECORD)
        return 0;
    if (DEFECT(PACK_ROUND_TIMES))
        item.timestamp_ns -= item.timestamp_ns % 1000;
    const uint64_t bytes =
        item_bytes(item.attribute_bytes, item.data_bytes) + item_bytes(0, sizeof(uint64_t));
    int rc = 0;
    if (header->body_bytes > 0 &&
        FRAME_HEADER_BYTES + header->body_bytes + bytes + 1 > frame_bytes_max(writer->file))
        rc = write_frame(writer);
    if (rc == 0)
        rc = make_room(writer, bytes);
    if (rc != 0)
        return rc;
    if (header->body_bytes == 0) {
        header->flags = FRAME_PACKED;
        header->base_offset = writer->offset;
        header->base_bytes = writer->bytes;
        writer->newest_ns = max_u64(writer->newest_ns, frame_ns);
        header->timestamp_ns = writer->time_ns = writer->newest_ns;
    }
    if (item.timestamp_ns < writer->time_ns ||
        item.timestamp_ns - writer->time_ns > PACKED_DELTA_MAX)
        put_time(writer, item.timestamp_ns);
    writer->newest_ns = max_u64(writer->newest_ns, item.timestamp_ns);
    const uint64_t delta = item.timestamp_ns - writer->time_ns;
    item.timestamp_delta_us = (uint32_t)delta;
    item.timestamp_high = (uint8_t)(delta >> 32);
    put_item(writer, &item);
    writer->offset += item.kind == ITEM_RECORD;
    writer->bytes += item.kind == ITEM_RECORD ? item.data_bytes : 0;
    return 0;
}

/* The first frame stays as it is: recovery and repair look for it. */
static int copy_state_frame(struct writer *writer, const struct frame_header *header,
                            const uint8_t *items)
{
    int rc = make_room(writer, header->body_bytes);
    if (rc < 0)
        return rc;
    writer->header = *header;
    memcpy(writer->frame + FRAME_HEADER_BYTES, items, header->body_bytes);
    return write_frame(writer);
}

static int pack_frame(struct writer *writer, const struct frame_header *header,
                      const uint8_t *items, bool is_last)
{
    struct item_walk walk = item_walk_of(header, items);
    struct item item;
    uint32_t records = header->record_count;
    if (header->flags & FRAME_STATE)
        return copy_state_frame(writer, header, items);
    while (item_next(&walk, &item) == 0) {
        if (DEFECT(PACK_DROP_LAST) && is_last && item.kind == ITEM_RECORD && records-- == 1)
            continue;
        if (DEFECT(PACK_TRUST_DAMAGE))
            item.crc = item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes);
        int rc = add_item(writer, item, header->timestamp_ns);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the whole ---- */

/* Whether the source ends as the header of its successor says. */
static bool ends_as_sealed(const struct reader *source, const struct segment_seal *seal)
{
    return source->crc == seal->original_crc && source->frame_no == seal->end_frame &&
           source->offset == seal->end_offset && source->bytes == seal->end_bytes;
}

/* Whether what was read so far, which was as dense as frames can be, has not become smaller. */
static bool is_hopeless(const struct writer *writer, const struct reader *source)
{
    const uint64_t written = writer->position + writer->header.body_bytes;
    return writer->file->is_dense && source->position >= SAMPLE_BYTES &&
           written > source->position - source->position / 8;
}

static int pack_frames(struct pack_file *file, struct writer *writer, struct reader *source)
{
    struct frame_header header;
    const uint8_t *items;
    int rc = reader_open(source, file, file->from_name, &file->from, file->seal.original_end);
    if (rc < 0)
        return rc;
    while ((rc = reader_next(source, &header, &items)) == 0) {
        bool is_last = source->offset == file->seal.end_offset && header.record_count > 0;
        rc = pack_frame(writer, &header, items, is_last);
        if (rc != 0)
            return rc;
        if (is_hopeless(writer, source))
            return -EFBIG;
    }
    if (rc != -ENODATA)
        return rc;
    return ends_as_sealed(source, &file->seal) ? write_frame(writer) : -EBADMSG;
}

static int write_header(struct pack_file *file, struct writer *writer)
{
    size_t capacity;
    uint8_t *block = buffer_get(file->pool, WAL_BLOCK_BYTES, &capacity);
    if (!block)
        return -ENOMEM;
    struct segment_seal *seal = &file->header.seal;
    seal->end = file->file_bytes = writer->position;
    seal->crc = writer->crc;
    if (writer->has_compressed && !DEFECT(COMPRESS_OLD_KIND))
        file->header.kind = SEGMENT_COMPRESSED;
    if (DEFECT(PACK_WRONG_SEAL))
        seal->original_crc = writer->crc;
    segment_header_encode(&file->header, block);
    int rc = writer_write(writer, block, WAL_BLOCK_BYTES, 0);
    buffer_put(file->pool, block, capacity);
    return rc;
}

static bool was_mistaken_on_purpose(void)
{
    return DEFECT(PACK_DROP_LAST) || DEFECT(PACK_DROP_STATE) || DEFECT(PACK_ROUND_TIMES) ||
           DEFECT(PACK_TRUST_DAMAGE) || DEFECT(PACK_WRONG_SEAL);
}

/* Reads the new file from the disk: its header, and that its items are those of the source. */
static int read_back(struct pack_file *file, const char *name, const struct reader *source)
{
    CLEANUP(reader_done) struct reader reader;
    struct segment_header header;
    struct frame_header frame;
    const uint8_t *items;
    uint8_t *data;
    int rc = reader_open(&reader, file, name, &file->header, file->header.seal.end);
    if (rc == 0)
        rc = reader_get(&reader, 0, WAL_BLOCK_BYTES, &data);
    if (rc != 0)
        return rc == -EBADMSG ? -EPROTO : rc;
    if (segment_header_decode(&header, data) < 0 || header.kind != file->header.kind ||
        header.salt != file->header.salt)
        return -EPROTO;
    while ((rc = reader_next(&reader, &frame, &items)) == 0)
        continue;
    if (rc != -ENODATA)
        return rc == -EBADMSG ? -EPROTO : rc;
    bool same = reader.digest == source->digest && reader.offset == source->offset &&
                reader.bytes == source->bytes && reader.crc == header.seal.crc &&
                header.seal.original_end == file->seal.original_end &&
                ends_as_sealed(source, &header.seal);
    return same || was_mistaken_on_purpose() ? 0 : -EPROTO;
}

static int write_all(struct pack_file *file, const char *name, struct writer *writer,
                     struct reader *source)
{
    struct wal_io *io = file->io;
    int rc = io->ops->random(io, &file->header.salt, SALT_BYTES);
    if (rc == 0)
        rc = pack_frames(file, writer, source);
    if (rc == 0 && DEFECT(PACK_RENAME_FIRST))
        rc = io->ops->replace(io, file->dir, name, file->from_name);
    if (rc == 0)
        rc = write_header(file, writer);
    if (rc == 0 && !DEFECT(PACK_SKIP_SYNC))
        rc = io->ops->sync(io, writer->handle);
    return rc;
}

int pack_file_write(struct pack_file *file, const char *name)
{
    CLEANUP(reader_done) struct reader source = {.file = file, .handle = -1};
    CLEANUP(writer_done)
    struct writer writer = {
        .file = file,
        .position = WAL_BLOCK_BYTES,
        .frame_no = file->from.base_frame,
        .offset = file->from.base_offset,
        .bytes = file->from.base_bytes,
        .crc = file->from.prev_crc,
    };
    struct wal_io *io = file->io;
    file->header = file->from;
    file->header.kind = SEGMENT_PACKED;
    file->header.seal = file->seal;
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    writer.handle = io->ops->open_file(io, file->dir, name, flags);
    if (writer.handle < 0)
        return writer.handle;
    int rc = write_all(file, name, &writer, &source);
    if (rc == 0 && DEFECT(PACK_RENAME_FIRST))
        name = file->from_name;
    return rc == 0 ? read_back(file, name, &source) : rc;
}
