/*
 * A module for ipmi_sim (Debian: openipmi) that teaches it the one thing the lab needs.
 *
 * ipmi_sim 2.0.33 answers Chassis Control 4 (pulse diagnostic interrupt) with completion code
 * 0xCC, although its serial "VM" codec can carry an NMI to QEMU. This module takes over the
 * Chassis Control command: 4 becomes an NMI on channel 15 (the system interface, where QEMU's
 * ipmi-bmc-extern is connected), everything else stays 0xCC so that nothing a test sends can cut
 * the power of the guest. Every NMI that was handed to QEMU is one line in a count file.
 *
 *     loadlib "/path/ipmi_nmi_mod.so" "/path/nmi.count"
 *
 * Build: gcc -shared -fPIC -o ipmi_nmi_mod.so ipmi_nmi_mod.c     (needs libopenipmi-dev)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <OpenIPMI/ipmi_err.h>
#include <OpenIPMI/ipmi_msgbits.h>
#include <OpenIPMI/mcserv.h>
#include <OpenIPMI/serv.h>

#define SYSTEM_INTERFACE 15
#define PULSE_DIAGNOSTIC_INTERRUPT 4
#define POWER_IS_ON 0x01
#define CANNOT_EXECUTE_IN_PRESENT_STATE 0xd5

static sys_data_t *simulator;
static char *count_path;

static channel_t *
system_interface(lmc_data_t *mc)
{
    channel_t *channel = simulator->mc_get_channelset(mc)[SYSTEM_INTERFACE];

    /* QEMU announces what it can do when it connects; before that there is no machine. */
    if (!channel || !channel->hw_op || !HW_OP_CAN_NMI(channel))
	return NULL;
    return channel;
}

static void
count_delivery(int result)
{
    struct timeval now;
    char line[80];
    int length, fd;

    gettimeofday(&now, NULL);
    length = snprintf(line, sizeof(line), "%ld.%06ld diagnostic interrupt, hw_op answered %d\n",
		      (long) now.tv_sec, (long) now.tv_usec, result);
    fd = open(count_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, length) != length)
	simulator->log(simulator, OS_ERROR, NULL, "cannot count an NMI in %s: %s",
		       count_path, strerror(errno));
    if (fd >= 0)
	close(fd);
}

static void
chassis_control(lmc_data_t *mc, msg_t *msg, unsigned char *rdata, unsigned int *rdata_len,
		void *cb_data)
{
    channel_t *channel;

    (void) cb_data;
    *rdata_len = 1;
    if (msg->len < 1) {
	rdata[0] = IPMI_REQUEST_DATA_LENGTH_INVALID_CC;
	return;
    }
    if ((msg->data[0] & 0x0f) != PULSE_DIAGNOSTIC_INTERRUPT) {
	rdata[0] = IPMI_INVALID_DATA_FIELD_CC;
	return;
    }
    channel = system_interface(mc);
    if (!channel) {
	rdata[0] = CANNOT_EXECUTE_IN_PRESENT_STATE;
	return;
    }
    count_delivery(channel->hw_op(channel, HW_OP_SEND_NMI));
    rdata[0] = 0;
}

/* The lab's guest is on exactly while QEMU is connected; the lab never switches it off. */
static void
get_chassis_status(lmc_data_t *mc, msg_t *msg, unsigned char *rdata, unsigned int *rdata_len,
		   void *cb_data)
{
    (void) msg;
    (void) cb_data;
    memset(rdata, 0, 4);
    rdata[1] = system_interface(mc) ? POWER_IS_ON : 0;
    *rdata_len = 4;
}

int
ipmi_sim_module_init(sys_data_t *sys, const char *count_file)
{
    int rv;

    simulator = sys;
    count_path = strdup(count_file);
    if (!count_path)
	return ENOMEM;
    rv = ipmi_emu_register_cmd_handler(IPMI_CHASSIS_NETFN, IPMI_CHASSIS_CONTROL_CMD, chassis_control, NULL);
    if (rv)
	return rv;
    return ipmi_emu_register_cmd_handler(IPMI_CHASSIS_NETFN, IPMI_GET_CHASSIS_STATUS_CMD,
					 get_chassis_status, NULL);
}
