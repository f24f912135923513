/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet capture`: frames of a network as pcapng.
 *
 * libpcap opens the device where the network is and filters in the kernel. Frames go from its ring into
 * one buffer, and from there out when no frame waits or the buffer is full. A reader that is slower than
 * the network makes the ring overflow, which is counted and told, and delays nobody else. Nothing blocks
 * but poll(), which also waits for the signal to end: a reader that has stopped does not hold us.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/confine.h"
#include "cli/capture.h"
#include "cli/cli.h"
#include "cli/pcapng.h"
#include "client/client.h"

#define SNAPLEN_MAX 262144 /* libpcap's own; frames between machines have up to 64 KiB */
#define RING_BYTES (16 << 20)
#define BATCH_MS 20 /* how long a frame may wait in the ring for others */
#define BATCH_FRAMES 1024
#define BUFFER_BYTES (1 << 20)
#define PIPE_BYTES 4096 /* PIPE_BUF on Linux: a pipe that can be written takes so many at once */
#define FILTER_MAX 4096
#define READER_MS 1000  /* how long a slow reader is waited for at the end */
#define NETWORK_MS 1000 /* how often the network is asked whether it is there, when it is silent */

struct capture {
    pcap_t *pcap;
    int out_fd, signal_fd;
    bool regular; /* out_fd is a file: writing never waits for anybody */
    bool stop;
    int error; /* of the output, -errno; -EPIPE: nobody reads any more */
    uint64_t start_ns, captured, limit;
    size_t len;
    uint8_t buf[BUFFER_BYTES];
};

/* What is asked for. */
struct request {
    struct net_spec spec;
    char device[16];
    char description[128];
    char filter[FILTER_MAX];
    const char *path; /* "-": standard output */
    uint64_t limit;   /* frames */
    int snaplen;
};

/* ---- the way out */

/* Waits until the output takes something. False where it does not and we are to end. */
static bool wait_for_output(struct capture *capture)
{
    struct pollfd fds[] = {{.fd = capture->out_fd, .events = POLLOUT},
                           {.fd = capture->signal_fd, .events = POLLIN}};

    if (capture->regular)
        return true;
    if (!capture->stop && poll(fds, 2, -1) > 0)
        capture->stop = fds[1].revents != 0;
    return fds[0].revents || !capture->stop || poll(fds, 1, READER_MS) > 0;
}

/* On any failure, and where the reader takes nothing while we are to end, what is left is given up. */
static void flush_output(struct capture *capture)
{
    size_t at = 0;

    while (at < capture->len && capture->error == 0) {
        size_t part = capture->len - at;
        ssize_t written;

        if (!capture->regular && part > PIPE_BYTES)
            part = PIPE_BYTES;
        if (!wait_for_output(capture))
            break;
        written = write(capture->out_fd, capture->buf + at, part);
        if (written > 0)
            at += (size_t)written;
        else if (written < 0 && errno != EINTR && errno != EAGAIN)
            capture->error = -errno;
    }
    capture->len = 0;
}

static uint8_t *reserve(struct capture *capture, size_t len)
{
    if (capture->len + len > sizeof(capture->buf))
        flush_output(capture);
    return capture->buf + capture->len;
}

static void on_frame(u_char *context, const struct pcap_pkthdr *header, const u_char *data)
{
    struct capture *capture = (void *)context;
    const struct pcapng_packet packet = {
        /* The field for microseconds holds nanoseconds, as open_device() asks for. */
        .time_ns = (uint64_t)header->ts.tv_sec * 1000000000 + (uint64_t)header->ts.tv_usec,
        .captured_len = header->caplen,
        .original_len = header->len,
        .data = data,
    };
    uint8_t *to = reserve(capture, pcapng_packet_bytes(header->caplen));

    capture->len += pcapng_put_packet(to, &packet);
    capture->captured++;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- the capture */

/* Takes what the ring has, but not for ever. False where the device fails. */
static bool take_frames(struct capture *capture)
{
    uint64_t left = capture->limit - capture->captured;
    int max = left < BATCH_FRAMES ? (int)left : BATCH_FRAMES;

    if (max > 0 && pcap_dispatch(capture->pcap, max, on_frame, (u_char *)capture) < 0)
        return false;
    if (capture->captured == capture->limit)
        capture->stop = true;
    return true;
}

/*
 * This process keeps the network's namespace, and would wait there for ever. A silent network is asked
 * from time to time whether it runs.
 */
static bool has_ended(const char *network)
{
    json_t *reply = NULL;
    bool ended = client_call(network, "Describe", NULL, &reply, NULL) == -ENOENT;

    json_decref(reply);
    return ended;
}

/* Until a signal, the last frame asked for, or the end of the output or of the network. False: it failed. */
static bool capture_frames(struct capture *capture, const char *network)
{
    struct pollfd fds[] = {
        {.fd = pcap_get_selectable_fd(capture->pcap), .events = POLLIN},
        {.fd = capture->signal_fd, .events = POLLIN},
        /* A reader that goes is noticed even where no frame comes. */
        {.fd = capture->regular ? -1 : capture->out_fd},
    };

    for (;;) {
        uint64_t before = capture->captured;
        bool idle;
        int ready;

        if (!take_frames(capture))
            return false;
        idle = capture->captured == before;
        if (idle || capture->stop)
            flush_output(capture);
        if (capture->stop || capture->error)
            return true;
        ready = poll(fds, 3, idle ? NETWORK_MS : 0);
        if (ready < 0 && errno != EINTR)
            return false;
        if (ready > 0 && fds[2].revents & (POLLERR | POLLHUP))
            capture->error = -EPIPE;
        if ((ready > 0 && fds[1].revents) || (ready == 0 && idle && has_ended(network)))
            capture->stop = true;
    }
}

/* Frames that came before the end are in the ring still, for BATCH_MS at most. */
static void take_rest(struct capture *capture)
{
    uint64_t before;

    poll(NULL, 0, 2 * BATCH_MS);
    for (int i = 0; i < 64; i++) {
        before = capture->captured;
        if (!take_frames(capture) || capture->captured == before)
            return;
    }
}

static enum cli_exit end_capture(struct capture *capture, bool good, const struct request *request)
{
    struct pcap_stat stats = {0};
    struct pcapng_statistics statistics;

    if (capture->stop && good && capture->error == 0)
        take_rest(capture);
    pcap_stats(capture->pcap, &stats);
    statistics = (struct pcapng_statistics){
        .start_ns = capture->start_ns,
        .end_ns = now_ns(),
        .received = capture->captured + stats.ps_drop,
        .dropped = stats.ps_drop,
    };
    capture->len += pcapng_put_statistics(reserve(capture, PCAPNG_STATISTICS_MAX), &statistics);
    flush_output(capture);
    cli_fail(CLI_DONE, "%llu packets captured, %u dropped", (unsigned long long)capture->captured,
             stats.ps_drop);
    if (!good)
        return cli_fail(CLI_FAILED, "capture: %s: %s", request->device, pcap_geterr(capture->pcap));
    if (capture->error && capture->error != -EPIPE)
        return cli_fail(CLI_FAILED, "capture: %s: %s", request->path, strerror(-capture->error));
    return CLI_DONE;
}

/* ---- opening */

static int open_device(const struct request *request, pcap_t **ret_pcap, struct err *err)
{
    char reason[PCAP_ERRBUF_SIZE] = "";
    struct bpf_program program;
    pcap_t *pcap = pcap_create(request->device, reason);
    int rc;

    if (!pcap)
        return err_set(err, -EIO, "%s: %s", request->device, reason);
    pcap_set_snaplen(pcap, request->snaplen);
    pcap_set_promisc(pcap, 1);
    pcap_set_timeout(pcap, BATCH_MS);
    pcap_set_buffer_size(pcap, RING_BYTES);
    pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO);
    rc = pcap_activate(pcap);
    if (rc < 0) {
        err_set(err, -EIO, "%s: %s (%s)", request->device, pcap_statustostr(rc), pcap_geterr(pcap));
    } else if (pcap_compile(pcap, &program, request->filter, 1, PCAP_NETMASK_UNKNOWN) < 0) {
        rc = err_set(err, -EINVAL, "filter '%s': %s; see pcap-filter(7)", request->filter,
                     pcap_geterr(pcap));
    } else {
        rc = pcap_setfilter(pcap, &program);
        pcap_freecode(&program);
        if (rc == 0)
            rc = pcap_setnonblock(pcap, 1, reason);
        if (rc < 0)
            err_set(err, -EIO, "%s: %s", request->device, pcap_geterr(pcap));
    }
    if (rc < 0) {
        pcap_close(pcap);
        return rc == -EINVAL ? rc : -EIO;
    }
    *ret_pcap = pcap;
    return 0;
}

static int open_output(const struct request *request, struct capture *capture, struct err *err)
{
    struct stat status;

    capture->out_fd = STDOUT_FILENO;
    if (strcmp(request->path, "-") != 0)
        capture->out_fd = open(request->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (capture->out_fd < 0)
        return err_set(err, -errno, "%s: %s", request->path, strerror(errno));
    capture->regular = fstat(capture->out_fd, &status) == 0 && S_ISREG(status.st_mode);
    return 0;
}

static int start_capture(const struct request *request, struct capture *capture, struct err *err)
{
    struct pcapng_interface interface = {
        .snaplen = (uint32_t)request->snaplen,
        .name = request->device,
        .description = request->description,
        .filter = request->filter,
    };
    int rc = capture_enter(&request->spec, err);

    if (rc == 0)
        rc = open_device(request, &capture->pcap, err);
    if (rc == 0)
        rc = open_output(request, capture, err);
    if (rc < 0)
        return rc;
    /* All is open. What reads the guests' bytes needs no rights, and has none. */
    rc = confine_capabilities(NULL, 0, false);
    capture->signal_fd = rc < 0 ? rc : capture_watch_signals();
    if (capture->signal_fd < 0)
        return err_set(err, capture->signal_fd, "cannot give up rights or watch signals: %s",
                       strerror(-capture->signal_fd));
    signal(SIGPIPE, SIG_IGN);
    capture->limit = request->limit;
    capture->start_ns = now_ns();
    interface.link_type = (uint16_t)pcap_datalink(capture->pcap);
    capture->len =
        pcapng_put_header(capture->buf, "vmnet (openvmnet) " OPENVMNET_VERSION, &interface);
    return 0;
}

/* ---- what is asked for */

/* The device of port @name, which is an interface or a machine's name. */
static int find_port(const json_t *status, const char *name, struct request *request,
                     struct err *err)
{
    const json_t *ports = json_object_get(status, "ports");
    size_t i;

    for (i = 0; i < json_array_size(ports); i++) {
        const json_t *port = json_array_get(ports, i);
        const char *interface = json_string_value(json_object_get(port, "interface"));
        const char *machine = json_string_value(json_object_get(port, "name"));

        if (!interface || (strcmp(interface, name) != 0 &&
                           (!machine || !*machine || strcasecmp(machine, name) != 0)))
            continue;
        snprintf(request->device, sizeof(request->device), "%s", interface);
        snprintf(request->description, sizeof(request->description), "%s of network %s",
                 machine && *machine ? machine : interface, request->spec.name);
        return 0;
    }
    return err_set(err, -ENODEV, "no port '%s'; 'vmnet status %s' lists those there are", name,
                   request->spec.name);
}

/* The network must run: there is nothing to see on one that would be started for this. */
static int find_device(const char *network, const char *port, struct request *request,
                       struct err *err)
{
    json_t *status;
    const char *mode;
    int rc = client_call(network, "Status", NULL, &status, err);

    if (rc < 0)
        return rc;
    rc = net_spec_set(&request->spec, "network", network, err);
    mode = json_string_value(json_object_get(json_object_get(status, "network"), "mode"));
    if (rc == 0 && mode)
        rc = net_spec_set(&request->spec, "mode", mode, err);
    if (rc == 0 && port) {
        rc = find_port(status, port, request, err);
    } else if (rc == 0) {
        snprintf(request->device, sizeof(request->device), "%s", capture_whole_network);
        snprintf(request->description, sizeof(request->description), "network %s", network);
    }
    json_decref(status);
    return rc;
}

/* A whole number from 1 to @max; @fallback where the option is not given. 0 where it is none. */
static uint64_t read_number(const struct cli_args *args, const char *option, uint64_t max,
                            uint64_t fallback)
{
    const char *text = cli_value(args, option);
    unsigned long long number;
    char *end;

    if (!text)
        return fallback;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number > max)
        return 0;
    return number;
}

static int join_filter(char *const *words, char *filter)
{
    size_t len = 0;

    for (; *words; words++) {
        int written = snprintf(filter + len, FILTER_MAX - len, "%s%s", len ? " " : "", *words);

        if (written < 0 || (size_t)written >= FILTER_MAX - len)
            return -E2BIG;
        len += (size_t)written;
    }
    return 0;
}

static enum cli_exit read_request(const struct cli_args *args, struct request *request)
{
    const char *network = args->argv[0];
    struct err err = {0};

    request->path = cli_value(args, "write") ? cli_value(args, "write") : "-";
    request->snaplen = (int)read_number(args, "snaplen", SNAPLEN_MAX, SNAPLEN_MAX);
    request->limit = read_number(args, "count", INT64_MAX, UINT64_MAX);
    if (!request->snaplen)
        return cli_fail(CLI_USAGE, "capture: --snaplen '%s': write a number from 1 to %d",
                        cli_value(args, "snaplen"), SNAPLEN_MAX);
    if (!request->limit)
        return cli_fail(CLI_USAGE, "capture: --count '%s': write a number from 1",
                        cli_value(args, "count"));
    if (join_filter(args->argv + 1, request->filter) < 0)
        return cli_fail(CLI_USAGE, "capture: the filter has more than %d characters",
                        FILTER_MAX - 1);
    if (net_name_check(network, &err) < 0)
        return cli_fail(CLI_USAGE, "capture: %s", err.text);
    if (strcmp(request->path, "-") == 0 && isatty(STDOUT_FILENO))
        return cli_fail(CLI_USAGE,
                        "capture: a capture is no text for a terminal; write it to a file (-w "
                        "FILE), or: vmnet capture %s | tcpdump -n -r -, vmnet capture %s | "
                        "wireshark -k -i -",
                        network, network);
    if (find_device(network, cli_value(args, "port"), request, &err) < 0)
        return cli_fail(CLI_FAILED, "capture: network '%s': %s", network, err.text);
    return CLI_DONE;
}

static enum cli_exit capture_run(const struct cli_args *args)
{
    struct request *request = calloc(1, sizeof(*request));
    struct capture *capture = calloc(1, sizeof(*capture));
    enum cli_exit code;
    struct err err = {0};
    int rc;

    if (!request || !capture) {
        code = cli_fail(CLI_FAILED, "capture: out of memory");
    } else if ((code = read_request(args, request)) == CLI_DONE) {
        rc = start_capture(request, capture, &err);
        if (rc < 0)
            code = cli_fail(rc == -EINVAL ? CLI_USAGE : CLI_FAILED, "capture: network '%s': %s",
                            args->argv[0], err.text);
        else
            code = end_capture(capture, capture_frames(capture, request->spec.name), request);
        if (capture->pcap)
            pcap_close(capture->pcap);
    }
    free(capture);
    free(request);
    return code;
}

int main(int argc, char **argv)
{
    return cli_main("capture", capture_run, argc, argv);
}
