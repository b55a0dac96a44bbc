from worker.oom import count_oom_kills


def test_the_kernel_s_count_is_read(tmp_path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\npgfault 9\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3


def test_where_there_is_no_counter_nothing_was_killed(tmp_path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\n")
    assert count_oom_kills(tmp_path / "vmstat") == 0
    assert count_oom_kills(tmp_path / "missing") == 0
